"""One batch through one model: halving ends at the guilty text and nowhere else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.errors import (
    Cancelled,
    DeadlineExceeded,
    EmbedderError,
    EncodingFailed,
    OutOfMemory,
)
from smart_embedder.models.model import Output, Vectors
from smart_embedder.scheduling.encode import encode


class _Picky:
    """Raises for some texts and for passes of too many tokens; a text is [its own number] * n."""

    def __init__(self, bad: set[int], memory: int) -> None:
        self.bad, self.memory = bad, memory
        self.passes = 0

    class card:  # noqa: N801 - stands for the model's card
        name = "picky"

    def forward(self, batch, _wanted, checkpoint):
        self.passes += 1
        checkpoint()
        if sum(map(len, batch)) > self.memory:
            raise OutOfMemory("too much")
        if any(ids[0] in self.bad for ids in batch):
            raise ValueError("a text that must not be logged")
        return [Vectors(score=float(ids[0])) for ids in batch]


def _run(model, lengths, checkpoint=lambda: None):
    ids = [np.full(length, number, np.int32) for number, length in enumerate(lengths)]
    return encode(model, ids, [Output.SCORE] * len(ids), checkpoint)


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=40),
    st.sets(st.integers(0, 39)),
    st.integers(1, 100),
)
def test_every_text_gets_its_own_answer_and_only_the_guilty_fail(lengths, bad, memory) -> None:
    model = _Picky(bad, memory)
    encoded = _run(model, lengths)
    assert len(encoded.answers) == len(lengths)
    for number, (length, answer) in enumerate(zip(lengths, encoded.answers, strict=True)):
        if length > memory:
            assert type(answer) is OutOfMemory
        elif number in bad:
            assert type(answer) is EncodingFailed
        else:
            assert answer == Vectors(score=float(number))
    assert model.passes < 2 * len(lengths)
    assert encoded.all_raised == all(type(each) is EncodingFailed for each in encoded.answers)
    assert all(tokens > memory for tokens in encoded.overflows)


def test_a_checkpoint_that_says_stop_ends_the_whole_batch() -> None:
    for reason in (Cancelled("gone"), DeadlineExceeded("late")):

        def stop(reason: EmbedderError = reason) -> None:
            raise reason

        model = _Picky(set(), 100)
        encoded = _run(model, [1, 2, 3], stop)
        assert encoded.answers == [reason] * 3
        assert encoded.stopped is reason
        assert model.passes == 1


def test_an_error_keeps_no_frame_of_the_pass_alive() -> None:
    for memory in (100, 1):
        [answer] = _run(_Picky({0}, memory), [3]).answers
        assert answer.__traceback__ is None
        assert answer.__cause__ is None
        assert answer.__context__ is None


def test_what_a_failed_pass_says_is_not_told_on(capsys) -> None:
    [answer] = _run(_Picky({0}, 100), [3]).answers
    assert "must not be logged" not in answer.message
    said = capsys.readouterr()
    assert "must not be logged" not in said.out + said.err
    assert "ValueError" in said.out + said.err
