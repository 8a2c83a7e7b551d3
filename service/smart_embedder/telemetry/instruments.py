"""Counters, gauges and histograms that cost next to nothing until somebody looks.

They are changed on the event loop's thread alone, so a step needs no lock and no child looked up
under one: it is one entry of a dictionary or a list. At a scrape they become prometheus_client's
families, which are written as any others.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class _Values(Collector):
    """One number for each set of labels."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]

    def __init__(self, name: str, words: str, *labels: str) -> None:
        self._describe = partial(self.family, name, words, labels=labels)
        self._values: defaultdict[Labels, float] = defaultdict(float)
        if not labels:
            self._values[()] = 0.0

    def collect(self) -> Iterable[Metric]:
        """Give every series."""
        family = self._describe()
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class Counter(_Values):
    """Only grows; on the page its name ends in `_total`."""

    family = CounterMetricFamily

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Add to one series; adding nothing makes it appear."""
        self._values[labels] += by


class Gauge(_Values):
    """Goes up and down."""

    family = GaugeMetricFamily

    def add(self, amount: float) -> None:
        """Change the one series of a gauge without labels."""
        self._values[()] += amount

    def set(self, value: float, *labels: str) -> None:
        """Replace the value of a series."""
        self._values[labels] = value


class _Series:
    """What one set of labels has seen."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.exemplars: dict[int, Exemplar] = {}
        self.sum = 0.0


class Histogram(Collector):
    """Counts values by the bucket they fall into, each bucket with its last trace."""

    def __init__(self, name: str, words: str, bounds: Sequence[float], *labels: str) -> None:
        self._describe = partial(HistogramMetricFamily, name, words, labels=labels)
        self._bounds = tuple(bounds)
        self._names = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._series = defaultdict[Labels, _Series](partial(_Series, len(self._names)))
        if not labels:
            self.start()

    def start(self, *labels: str) -> None:
        """Make a series appear before it has seen anything."""
        self._series[labels]  # a defaultdict

    def observe(self, value: float, *labels: str, trace: str | None = None) -> None:
        """Count one value; `trace` is where a reader finds out why it is what it is."""
        series = self._series[labels]
        bucket = bisect_left(self._bounds, value)  # a bound belongs to the bucket it closes
        series.counts[bucket] += 1
        series.sum += value
        if trace:
            series.exemplars[bucket] = Exemplar({"trace_id": trace}, value, time.time())

    def collect(self) -> Iterable[Metric]:
        """Give every series."""
        family = self._describe()
        for labels, series in self._series.items():
            family.add_metric(labels, list(self._buckets(series)), series.sum)
        yield family

    def _buckets(
        self, series: _Series
    ) -> Iterable[tuple[str, float] | tuple[str, float, Exemplar]]:
        for place, total in enumerate(accumulate(series.counts)):
            name, exemplar = self._names[place], series.exemplars.get(place)
            yield (name, total, exemplar) if exemplar else (name, total)
