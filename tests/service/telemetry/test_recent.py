"""The percentiles of the last minutes."""

import pytest

from smart_embedder.telemetry.recent import GROWTH, SLICE_SECONDS, SLICES, Recent


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_percentiles_are_right_to_within_a_bucket() -> None:
    recent = Recent(Clock())
    for milliseconds in range(1, 1001):
        recent.add(milliseconds / 1000)

    found = recent.percentiles()

    assert found.count == 1000
    assert found.p50 == pytest.approx(0.5, rel=GROWTH - 1)
    assert found.p95 == pytest.approx(0.95, rel=GROWTH - 1)
    assert found.p99 == pytest.approx(0.99, rel=GROWTH - 1)


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.add(60.0)
    clock.now += SLICES * SLICE_SECONDS
    recent.add(0.01)

    found = recent.percentiles()

    assert found.count == 1
    assert found.p99 == pytest.approx(0.01, rel=0.1)


def test_silence_reads_as_zero() -> None:
    assert Recent(Clock()).percentiles().p99 == 0.0


def test_a_duration_beyond_the_last_bucket_is_counted() -> None:
    recent = Recent(Clock())
    recent.add(1e6)
    recent.add(0.0)

    assert recent.percentiles().count == 2
