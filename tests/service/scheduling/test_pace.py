"""Rates and budgets."""

from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.scheduling.pace import Budget, Pace


def test_the_rate_follows_the_tokens_not_the_passes() -> None:
    pace = Pace()
    assert pace.seconds(1000) == 0
    pace.measured(10, 1.0)
    pace.measured(10_000, 1.0)
    assert 5000 < pace.rate < 6000
    for _ in range(100):
        pace.measured(10_000, 1.0)
    assert abs(pace.seconds(10_000) - 1) < 0.01


def test_a_budget_is_cut_to_the_target_time_but_never_below_what_a_device_needs() -> None:
    pace, budget = Pace(), Budget(100_000, target_seconds=0.25)
    assert budget.tokens(pace) == 100_000
    pace.measured(80_000, 1.0)
    assert budget.tokens(pace) == 20_000
    slow = Pace()
    slow.measured(500, 1.0)
    assert budget.tokens(slow) == 256


@given(st.integers(1, 10_000), st.lists(st.integers(1, 20_000), max_size=50))
def test_a_budget_stays_between_one_and_the_whole(whole, overflows) -> None:
    budget, pace = Budget(whole, 0.25), Pace()
    for tokens in overflows:
        budget.overflowed(tokens)
        assert 1 <= budget.tokens(pace) <= max(1, min(whole, tokens // 2))
    for _ in range(100):
        before = budget.tokens(pace)
        budget.fitted(before)
        assert before <= budget.tokens(pace) <= min(whole, before + max(1, before // 100))


def test_a_lowered_budget_comes_back_slowly_and_only_by_full_passes() -> None:
    budget, pace = Budget(1000, 0.25), Pace()
    budget.overflowed(1000)
    budget.fitted(10)
    assert budget.tokens(pace) == 500
    for _ in range(2000):
        budget.fitted(budget.tokens(pace))
    assert budget.tokens(pace) == 1000
