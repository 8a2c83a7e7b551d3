"""The cut of a batch, held by its properties."""

from collections.abc import Sequence
from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.scheduling.cut import (
    INTERACTIVE_PASSES,
    PATIENCE,
    Cut,
    Pile,
    cut,
)
from smart_embedder.scheduling.observer import Lane
from smart_embedder.scheduling.queue import Queue

MODELS = ("m", "r")
BUDGETS = {"m": 64, "r": 32}
clients = st.tuples(st.sampled_from(list(Lane)), st.sampled_from("abc"))
lengths = st.lists(st.integers(1, 100), min_size=1, max_size=30)
requests = st.tuples(st.sampled_from(MODELS), clients, lengths)


def _piles(wanted: Sequence[tuple]) -> list[Pile[int]]:
    return [
        Pile.of(owner, model, client, [(length, slot) for slot, length in enumerate(texts)])
        for owner, (model, client, texts) in enumerate(wanted)
    ]


def _cut(piles: Sequence[Pile[int]], **changed: object) -> Cut[int] | None:
    usual = {
        "turn": 0,
        "interactive_run": 0,
        "served": {},
        "budgets": BUDGETS,
        "max_texts": 1000,
    }
    return cut(piles, **{**usual, **changed})


@given(st.lists(requests, max_size=20), st.integers(1, 40), st.integers(0, 9), st.data())
def test_a_pass_keeps_its_budget_or_holds_one_text_alone(wanted, max_texts, run, data) -> None:
    piles = _piles(wanted)
    served = {pile.client: data.draw(st.floats(0, 1000)) for pile in piles}
    chosen = _cut(piles, max_texts=max_texts, interactive_run=run, served=served)
    if chosen is None:
        assert not piles
        return
    texts = sum(part.stop - part.pile.taken for part in chosen.slices)
    assert 1 <= texts <= max_texts
    assert chosen.tokens <= BUDGETS[chosen.model] or texts == 1
    assert {part.pile.model for part in chosen.slices} == {chosen.model}
    assert {part.pile.lane for part in chosen.slices} == {chosen.lane}
    for part in chosen.slices:
        assert part.tokens == sum(part.pile.lengths[part.pile.taken : part.stop])


@given(st.lists(requests, max_size=20))
def test_the_cut_changes_nothing_and_answers_the_same_again(wanted) -> None:
    piles = _piles(wanted)
    before = [(pile.taken, list(pile.slots), pile.turn) for pile in piles]
    first, second = _cut(piles), _cut(piles)
    assert [(pile.taken, list(pile.slots), pile.turn) for pile in piles] == before
    assert first == second


steps = st.one_of(
    st.tuples(st.just("push"), requests),
    st.tuples(st.just("take"), st.integers(1, 40)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
)


@given(st.lists(steps, max_size=60))
def test_nothing_is_lost_nothing_runs_twice_and_the_cancelled_never_run(plan) -> None:
    queue: Queue[int] = Queue(lambda: 0.0)
    waiting: dict[int, set[int]] = {}
    for owner, (step, facts) in enumerate(plan):
        if step == "push":
            model, client, texts = facts
            queue.push(owner, model, client, [(length, i) for i, length in enumerate(texts)])
            waiting[owner] = set(range(len(texts)))
        elif step == "cancel":
            queue.keep(facts, set())
            waiting.pop(facts, None)
        else:
            _take(queue, waiting, facts)
    while len(queue):
        _take(queue, waiting, 1000)
    assert not any(waiting.values())


def _take(queue: Queue[int], waiting: dict[int, set[int]], max_texts: int) -> None:
    taken = queue.take(BUDGETS, max_texts)
    assert bool(taken) == any(waiting.values())
    for owner, slots in taken:
        assert set(slots) <= waiting[owner]
        assert len(set(slots)) == len(slots)
        waiting[owner] -= set(slots)


@given(
    st.integers(1, 100),
    st.sampled_from(list(Lane)),
    st.lists(st.lists(requests, max_size=3), min_size=1, max_size=6),
)
def test_every_wait_is_bounded_whatever_else_arrives(length, lane, arrivals) -> None:
    """A pile is passed over PATIENCE times at most, then only those older than it go first."""
    queue: Queue[int] = Queue(lambda: 0.0)
    queue.push(-1, "m", (lane, "patient"), [(length, 0)])
    owners, most = 0, 0
    for cuts, batch in enumerate(islice(cycle(arrivals), 400)):
        for model, client, texts in batch:
            # As many piles as a door lets in; the oldest leave first.
            queue.push(owners % 8, model, client, [(n, i) for i, n in enumerate(texts)])
            owners += 1
        most = cuts
        if any(owner == -1 for owner, _ in queue.take(BUDGETS, 1000)):
            break
    share = INTERACTIVE_PASSES + 1
    assert most <= share * (PATIENCE + 8)


def test_a_single_query_goes_before_another_clients_ten_thousand_texts() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    greedy, single = (Lane.INTERACTIVE, "greedy"), (Lane.INTERACTIVE, "single")
    queue.push("flood", "m", greedy, [(8, slot) for slot in range(10_000)])
    queue.take(BUDGETS, 1000)
    queue.push("query", "m", single, [(8, 0)])
    [first, *_] = queue.take(BUDGETS, 1000)
    assert first == ("query", [0])


def test_clients_of_one_lane_share_the_device_by_tokens() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    queue.push("a", "m", (Lane.BULK, "a"), [(8, slot) for slot in range(1000)])
    queue.push("b", "m", (Lane.BULK, "b"), [(4, slot) for slot in range(2000)])
    had = {"a": 0, "b": 0}
    for _ in range(40):
        for owner, slots in queue.take(BUDGETS, 1000):
            had[owner] += len(slots) * (8 if owner == "a" else 4)
    assert abs(had["a"] - had["b"]) <= 2 * BUDGETS["m"]


def test_a_client_that_idled_has_saved_nothing_up() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    queue.push("a", "m", (Lane.BULK, "a"), [(8, slot) for slot in range(1000)])
    for _ in range(50):
        queue.take(BUDGETS, 1000)
    queue.push("b", "m", (Lane.BULK, "b"), [(8, slot) for slot in range(1000)])
    leaders = [queue.take(BUDGETS, 1000)[0][0] for _ in range(6)]
    assert sorted(leaders) == ["a"] * 3 + ["b"] * 3


def test_interactive_goes_first_and_bulk_gets_its_turn() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    queue.push("bulk", "m", (Lane.BULK, "a"), [(64, slot) for slot in range(100)])
    queue.push("quick", "m", (Lane.INTERACTIVE, "a"), [(64, slot) for slot in range(100)])
    order = [queue.take(BUDGETS, 1000)[0][0] for _ in range(10)]
    assert order == (["quick"] * INTERACTIVE_PASSES + ["bulk"]) * 2


def test_a_bulk_pass_between_queries_is_half_as_long() -> None:
    queue = Queue[str]()
    queue.push("bulk", "m", (Lane.BULK, "a"), [(8, slot) for slot in range(100)])
    whole = BUDGETS["m"] // 8

    def taken() -> tuple[str, int]:
        [(owner, slots)] = queue.take(BUDGETS, 1000)
        return owner, len(slots)

    assert taken() == ("bulk", whole)
    for _ in range(2):
        queue.push("query", "m", (Lane.INTERACTIVE, "b"), [(8, 0)])
        assert taken() == ("query", 1)
        assert taken() == ("bulk", whole // 2)
    assert taken() == ("bulk", whole)


def test_a_turn_that_bulk_had_to_wait_for_is_a_whole_pass() -> None:
    [pile] = _piles([("m", (Lane.BULK, "a"), [8] * 100)])
    for run, tokens in ((INTERACTIVE_PASSES, 64), (INTERACTIVE_PASSES - 1, 32)):
        chosen = _cut([pile], interactive_run=run)
        assert chosen is not None
        assert chosen.tokens == tokens


def test_a_short_text_does_not_wait_for_a_long_mate_of_its_own_client() -> None:
    long, short = [(60, 0)], [(5, 0)]
    client = (Lane.INTERACTIVE, "a")
    queue: Queue[str] = Queue(lambda: 0.0)
    queue.push("long", "m", client, long)
    queue.push("short", "m", client, short)
    budgets = {"m": 1024}
    assert queue.take(budgets, 1000) == [("short", [0]), ("long", [0])]
    queue.push("longer", "m", client, [(600, 0)])
    queue.push("short", "m", client, short)
    assert queue.take(budgets, 1000) == [("short", [0])]


def test_a_long_text_that_short_ones_pass_over_is_served_in_the_end() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    client = (Lane.INTERACTIVE, "a")
    queue.push("long", "m", client, [(1000, 0)])
    for turn in range(PATIENCE):
        queue.push(f"short {turn}", "m", client, [(64, 0)])
        assert queue.take(BUDGETS, 1000) == [(f"short {turn}", [0])]
    queue.push("one more", "m", client, [(64, 0)])
    assert queue.take(BUDGETS, 1000) == [("long", [0])]


def test_a_bulk_request_is_one_entry_cut_by_tokens() -> None:
    queue: Queue[str] = Queue(lambda: 0.0)
    queue.push("bulk", "m", (Lane.BULK, "a"), [(8, slot) for slot in range(10_000)])
    [(owner, slots)] = queue.take(BUDGETS, 1000)
    assert (owner, len(slots)) == ("bulk", BUDGETS["m"] // 8)
    assert len(queue) == 10_000 - len(slots)
    assert len(queue._piles) == 1
