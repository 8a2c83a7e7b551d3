"""Our instruments count as prometheus_client's own do."""

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from smart_embedder.telemetry.instruments import Counter, Gauge, Histogram

BOUNDS = (0.5, 1, 2.5)
observed = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([0.0, 0.4, 0.5, 0.7, 1.0, 2.5, 9.0]))
)


def page(collector: object) -> list[str]:
    """What a scrape reads, less the times at which series were made."""
    registry = CollectorRegistry()
    registry.register(collector)
    return [
        line for line in generate_latest(registry).decode().splitlines() if "_created" not in line
    ]


@given(observed)
def test_a_histogram_reads_like_prometheus_clients_own(values: list[tuple[str, float]]) -> None:
    ours = Histogram("seconds", "Words", BOUNDS, "kind")
    theirs = prometheus_client.Histogram(
        "seconds", "Words", ["kind"], buckets=BOUNDS, registry=None
    )
    for kind, value in values:
        ours.observe(value, kind)
        theirs.labels(kind).observe(value)

    assert page(ours) == page(theirs)


@given(observed)
def test_counters_and_gauges_read_like_prometheus_clients_own(
    values: list[tuple[str, float]],
) -> None:
    counter, gauge = Counter("texts", "Words", "kind"), Gauge("now", "Words", "kind")
    their_counter = prometheus_client.Counter("texts", "Words", ["kind"], registry=None)
    their_gauge = prometheus_client.Gauge("now", "Words", ["kind"], registry=None)
    for kind, value in values:
        counter.inc(kind, by=value)
        gauge.set(value, kind)
        their_counter.labels(kind).inc(value)
        their_gauge.labels(kind).set(value)

    assert page(counter) == page(their_counter)
    assert page(gauge) == page(their_gauge)


def test_a_series_without_labels_is_there_before_it_is_touched() -> None:
    assert "texts_total 0.0" in page(Counter("texts", "Words"))
    assert "seconds_count 0.0" in page(Histogram("seconds", "Words", BOUNDS))


def test_a_bucket_keeps_the_last_trace_that_fell_into_it() -> None:
    seconds = Histogram("seconds", "Words", BOUNDS)
    seconds.observe(0.7, trace="old")
    seconds.observe(0.8, trace="new")
    seconds.observe(0.9)

    [line] = [line for line in page(seconds) if "trace_id" in line]
    assert line.startswith('seconds_bucket{le="1.0"} 3.0 # {trace_id="new"} 0.8')
