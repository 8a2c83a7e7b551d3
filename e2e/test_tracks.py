"""Vectors migrate under load: what a Service answers with changes once, and never back and forth.

A connection reaches one pod until it ends. So connections that are opened for each request show
the Service itself; those that are kept show what a client with a pool sees, which is the old
vectors until each of its connections was told to close.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import Embedder
from e2e.load import Answer, Load
from e2e.questions import EMBEDDING
from e2e.workloads import away_from

pytestmark = pytest.mark.usefixtures("operator")

DRAIN_DELAY = 5.0
"""Seconds for which a stopping pod still answers, each time with `Connection: close`."""
RATE = 20.0


class Traffic:
    """Load from two nodes: a new connection for each request, and a pool that is kept."""

    def __init__(self, start: Callable[..., Load], url: str) -> None:
        self._start = start
        self.fresh = start(url, EMBEDDING.body, rate=RATE, connections="new", name="fresh")
        elsewhere = away_from("fresh")
        self.kept = start(url, EMBEDDING.body, rate=RATE, name="kept", affinity=elsewhere)

    def end(self) -> tuple[list[Answer], list[Answer]]:
        """What was answered over new connections, and over kept ones."""
        self.fresh.end()
        self.kept.end()
        return self.fresh.answers(), self.kept.answers()

    def preview(self, track: dict[str, Any]) -> str:
        """The fingerprint of an answer of a track's own Service."""
        url = f"http://{track['previewService']}:8000{EMBEDDING.path}"
        once = self._start(url, EMBEDDING.body, rate=1, count=1, name=track["role"].lower())
        [answer] = once.answers()
        return answer.fingerprint


@pytest.fixture
def embedder(kubectl: Kubectl) -> Embedder:
    return Embedder(kubectl)


@pytest.fixture
def traffic(embedder: Embedder, start_load: Callable[..., Load]) -> Callable[[], Traffic]:
    return lambda: Traffic(start_load, embedder.endpoint + EMBEDDING.path)


def test_an_edit_of_the_model_changes_the_vectors_once_and_loses_no_request(
    embedder: Embedder, traffic: Callable[[], Traffic]
) -> None:
    embedder.create(replicas=2)
    embedder.ready()
    old = until(lambda: embedder.status().get("vectorFingerprint"), "the fingerprint")
    [first] = embedder.status()["tracks"]
    load = traffic()

    embedder.edit(models={"embedding": "demo/qwen3-embedding"})
    until(lambda: served(embedder) != first["fingerprint"], "the new track", seconds=200)
    until(lambda: not embedder.pods(first["fingerprint"]), "the old pods to be gone")
    new = until(lambda: embedder.status().get("vectorFingerprint"), "the new fingerprint")

    fresh, kept = load.end()
    assert [track["fingerprint"] for track in embedder.status()["tracks"]] == [served(embedder)]
    check_change(fresh, kept, old, new)


def test_a_manual_migration_waits_shows_both_tracks_and_goes_there_and_back(
    embedder: Embedder, traffic: Callable[[], Traffic]
) -> None:
    embedder.create(rollout={"promotion": "Manual"})
    embedder.ready()
    old = until(lambda: embedder.status().get("vectorFingerprint"), "the fingerprint")
    load = traffic()

    embedder.edit(models={"embedding": "demo/qwen3-embedding"})
    until(lambda: waits(embedder), "the wait for a word", seconds=200, every=1)
    serving, following = embedder.status()["tracks"]
    assert (serving["role"], following["role"]) == ("Serving", "Next")
    assert serving["vectorFingerprint"] == old
    new = following["vectorFingerprint"]
    assert load.preview(serving) == old
    assert load.preview(following) == new != old

    said = time.time()
    promote(embedder, following)
    until(lambda: not embedder.pods(serving["fingerprint"]), "the old pods to be gone")
    between = time.time()
    promote(embedder, serving)
    embedder.edit(models={"embedding": "demo/bge-m3"})
    until(lambda: not embedder.pods(following["fingerprint"]), "the new pods to be gone")

    fresh, kept = load.end()
    waited = {answer.fingerprint for answer in [*fresh, *kept] if answer.answered < said}
    assert waited == {old}
    check_change(sent(fresh, before=between), sent(kept, before=between), old, new)
    check_change(sent(fresh, after=between), sent(kept, after=between), new, old)


def check_change(fresh: list[Answer], kept: list[Answer], old: str, new: str) -> None:
    """Every request was answered, first with the old vectors, and from the change on with the new.

    Over kept connections the old come to an end when every connection was told to close.
    """
    assert {answer.outcome for answer in [*fresh, *kept]} == {"200"}
    slowest = max(answer.answered - answer.sent for answer in [*fresh, *kept])
    for name, answers, most in (("new", fresh, 0.0), ("kept", kept, DRAIN_DELAY)):
        assert {answer.fingerprint for answer in answers} == {old, new}
        after = overlap(answers, old, new)
        print(f"{name} connections: {len(answers)} requests, the last old {after:.3f} s after new")
        assert after < most
    print(f"slowest answer {slowest:.2f} s")


def sent(answers: list[Answer], *, after: float = 0.0, before: float = math.inf) -> list[Answer]:
    """The requests of a time."""
    return [answer for answer in answers if after < answer.sent < before]


def served(embedder: Embedder) -> str:
    """The track behind the Service."""
    fingerprint: str = embedder.status()["fingerprint"]
    return fingerprint


def waits(embedder: Embedder) -> bool:
    """Whether the next track is ready and waits for a person, and both have said who they are."""
    told = [track.get("vectorFingerprint") for track in embedder.status()["tracks"]]
    reason = embedder.condition("Progressing")["reason"]
    return reason == "WaitingForPromotion" and len(told) == 2 and all(told)


def promote(embedder: Embedder, track: dict[str, Any]) -> None:
    """Say the word, and wait until the track serves."""
    embedder.edit(rollout={"promotion": "Manual", "promote": track["fingerprint"]})
    until(lambda: served(embedder) == track["fingerprint"], "the promotion", seconds=200)


def overlap(answers: list[Answer], old: str, new: str) -> float:
    """Seconds from the first new answer to the last request that got an old one.

    Below 0: whoever has seen the new vectors never sees the old ones again.
    """
    last = max(answer.sent for answer in answers if answer.fingerprint == old)
    return last - min(answer.answered for answer in answers if answer.fingerprint == new)
