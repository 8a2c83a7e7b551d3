"""What a person on call sees: metrics, traces, logs and the percentiles of the last minutes.

It listens: the scheduler tells it through `Observer`, the HTTP edge through `requests.Watched`.
Nothing of the service waits for it or depends on it.
"""
