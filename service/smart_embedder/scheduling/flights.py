"""Equal texts on their way: the first one leads, the others wait for what it finds."""

from collections.abc import Iterable, Iterator

from smart_embedder.scheduling.job import Job
from smart_embedder.scheduling.observer import Lane

Place = tuple[Job, int]
"""A job and one of its slots."""


class Flights:
    """The leading place of every text that waits or runs."""

    def __init__(self) -> None:
        self._leaders: dict[tuple[str, bytes], Place] = {}

    def board(self, job: Job, slots: Iterable[int]) -> list[int]:
        """Let slots follow equal texts that are on their way; return those that must go alone."""
        own = []
        for slot in slots:
            key, place = (job.model, job.keys[slot]), (job, slot)
            leader, led = self._leaders.setdefault(key, place)
            if leader is job and led == slot:
                own.append(slot)
            elif _may_follow(job, leader):
                leader.followers.setdefault(led, []).append(place)
                job.following.add(leader)
            else:
                self._leaders[key] = place
                own.append(slot)
        return own

    def land(self, job: Job, slot: int) -> Iterator[Place]:
        """Take a text that has arrived (or never will) out; give every place it was meant for."""
        self.forget(job, slot)
        yield job, slot
        yield from job.followers.pop(slot, ())

    def forget(self, job: Job, slot: int) -> None:
        """Let nobody follow this text any more."""
        key = (job.model, job.keys[slot])
        if self._leaders.get(key) == (job, slot):
            del self._leaders[key]


def _may_follow(job: Job, leader: Job) -> bool:
    """Whether the leader finds all that is wanted, and waits in no queue the job would not.

    A query that happens to stand in somebody's reindex must not wait for the reindex.
    """
    ours, theirs = job.ticket, leader.ticket
    prompt = theirs.lane is Lane.INTERACTIVE
    same_line = (ours.lane, ours.client) == (theirs.lane, theirs.client)
    return (prompt or same_line) and job.outputs & leader.outputs == job.outputs
