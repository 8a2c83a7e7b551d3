"""The few numbers we want from a pod's Prometheus page, found without parsing the rest of it.

A page has some hundred lines, and a thousand pods are read every five seconds: so each wanted
series is searched for by its bytes. Pure text in, numbers out.
"""

QUEUE_DEPTH = "smart_embedder_queue_depth"
METRICS = (
    QUEUE_DEPTH,
    "smart_embedder_interactive_queue_depth",
    "smart_embedder_queue_waiting",
    "smart_embedder_queue_tokens",
)
"""The label-free gauges that the metrics API answers with."""

Values = dict[str, float]


def read_gauges(page: bytes) -> Values:
    """The wanted gauges on a metrics page; one that is missing or not a number is left out."""
    text = b"\n" + page
    found = {name: _value(text, f"\n{name} ".encode()) for name in METRICS}
    return {name: value for name, value in found.items() if value is not None}


def _value(text: bytes, start: bytes) -> float | None:
    at = text.find(start)
    if at < 0:
        return None
    end = text.find(b"\n", at + len(start))
    number = text[at + len(start) : end if end >= 0 else None].split(b" ")[0]
    try:
        value = float(number)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
