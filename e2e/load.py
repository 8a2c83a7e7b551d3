"""A load generator that runs as a pod: requests leave on time, answered or not (an open loop).

No request is sent again. Each answer is kept with its times and the fingerprint of its vectors.
A queue of a known depth is held by connections that each send on when they are answered.
"""

import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.workloads import python

# Runs in the operator image, which has aiohttp. SIGUSR1 ends the sending, not the waiting for what
# was sent. Of n connections each is a client's of its own, which sends every n-th request.
_GENERATOR = """
import asyncio, itertools, json, signal, sys, time
import aiohttp

url, body, connections = sys.argv[1:4]
rate, count = float(sys.argv[4]), int(sys.argv[5])

def clients():
    kind = {"pool": {"limit": 0}, "new": {"limit": 0, "force_close": True}}
    for _ in range(1 if connections in kind else int(connections)):
        connector = aiohttp.TCPConnector(**kind.get(connections, {"limit": 1}))
        yield aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(600),
                                    headers={"Content-Type": "application/json"})

async def post(session, number, answers):
    sent, fingerprint = time.time(), ""
    try:
        async with session.post(url, data=body.replace("{number}", str(number))) as answer:
            await answer.read()
            outcome = str(answer.status)
            fingerprint = answer.headers.get("X-Vector-Fingerprint", "")
    except (aiohttp.ClientError, asyncio.TimeoutError) as lost:
        outcome = repr(lost)
    answers.append([sent, time.time(), outcome, fingerprint])

async def on_time(sessions, group, answers, ended):
    start = asyncio.get_running_loop().time()
    for number, session in zip(range(count), itertools.cycle(sessions)):
        await asyncio.sleep(max(0, start + number / rate - asyncio.get_running_loop().time()))
        if ended.is_set():
            break
        group.create_task(post(session, number, answers))

async def one_after_another(session, numbers, answers, ended):
    while not ended.is_set():
        await post(session, next(numbers), answers)

async def main():
    answers, ended = [], asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, ended.set)
    sessions = list(clients())
    await post(sessions[0], "first", [])
    print("begun", time.time(), flush=True)
    async with asyncio.TaskGroup() as group:
        if rate:
            await on_time(sessions, group, answers, ended)
        else:
            numbers = itertools.count()
            for session in sessions:
                group.create_task(one_after_another(session, numbers, answers, ended))
    for session in sessions:
        await session.close()
    print(json.dumps(answers), flush=True)

asyncio.run(main())
"""
_END = "import os, signal; os.kill(1, signal.SIGUSR1)"


@dataclass(frozen=True)
class Answer:
    """What became of one request."""

    sent: float
    """Unix time, as the generator's node has it."""
    answered: float
    outcome: str
    """The status, or what went wrong on the way."""
    fingerprint: str
    """X-Vector-Fingerprint."""


@dataclass(frozen=True)
class Load:
    """Load that is on its way."""

    kubectl: Kubectl
    name: str
    begun: float
    """Unix time of the first request that counts."""

    def end(self) -> None:
        """Send nothing more; what was sent is still waited for."""
        self.kubectl("exec", self.name, "--", "python3", "-c", _END)

    def answers(self) -> list[Answer]:
        """Every request in the order of sending, once the last one is answered."""
        done = "--for=jsonpath={.status.phase}=Succeeded"
        self.kubectl("wait", f"pod/{self.name}", done, "--timeout=180s", timeout=200)
        lines = json.loads(self.kubectl("logs", self.name).splitlines()[-1])
        return sorted((Answer(*line) for line in lines), key=lambda answer: answer.sent)

    def outcomes(self) -> dict[str, int]:
        """How often each status or failure came."""
        return Counter(answer.outcome for answer in self.answers())


def start(
    kubectl: Kubectl,
    image: str,
    url: str,
    body: dict[str, Any],
    *,
    rate: float = 0.0,
    count: int = 100_000,
    connections: int | Literal["pool", "new"] = "pool",
    name: str = "load",
    **spec: Any,
) -> Load:
    """Begin to post `body` to `url`, `rate` times a second; returns when the load has begun.

    Without a rate each of the connections sends on as soon as it is answered.

    `{number}` within the body becomes the request's number, so that no answer is remembered.
    Connections are kept, in a pool without a limit or so many of them, or new for each request.
    `spec` is the pod's.
    """
    arguments = (url, json.dumps(body), str(connections), str(rate), str(count))
    kubectl.apply(python(name, image, _GENERATOR, *arguments, **spec))
    begun = until(partial(_begun, kubectl, name), "first request of the load", seconds=120)
    return Load(kubectl, name, float(begun))


def _begun(kubectl: Kubectl, name: str) -> str:
    """When the load began; nothing before. It may be over by the time we look."""
    try:
        head, _, when = kubectl("logs", name).partition("\n")[0].partition(" ")
    except CommandFailed:
        return ""  # the container is being made
    return when if head == "begun" else ""
