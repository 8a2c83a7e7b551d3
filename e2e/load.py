"""An open-loop load generator that runs as a pod: requests leave on time, answered or not."""

import json
from dataclasses import dataclass
from typing import Any

from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.workloads import python

# Runs in the operator image, which has aiohttp; prints one line at the begin and one at the end.
_GENERATOR = """
import asyncio, collections, json, sys
import aiohttp

url, body, rate, count = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])

async def post(session, outcomes):
    try:
        async with session.post(url, json=body) as answer:
            await answer.read()
            outcomes[str(answer.status)] += 1
    except (aiohttp.ClientError, asyncio.TimeoutError) as lost:
        outcomes[repr(lost)] += 1

async def main():
    outcomes = collections.Counter()
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        await post(session, collections.Counter())
        print("begun", flush=True)
        start = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0, start + number / rate - loop.time()))
                group.create_task(post(session, outcomes))
    print(json.dumps(outcomes), flush=True)

asyncio.run(main())
"""


@dataclass(frozen=True)
class Load:
    """Load that is on its way."""

    kubectl: Kubectl
    name: str
    count: int

    def outcomes(self) -> dict[str, int]:
        """How often each status or failure came, once the last request is answered."""
        done = "--for=jsonpath={.status.phase}=Succeeded"
        self.kubectl("wait", f"pod/{self.name}", done, "--timeout=180s", timeout=200)
        outcomes: dict[str, int] = json.loads(self.kubectl("logs", self.name).splitlines()[-1])
        return outcomes


def start(
    kubectl: Kubectl, image: str, url: str, body: dict[str, Any], *, rate: float, count: int
) -> Load:
    """Begin to post `body` to `url`, `rate` times a second; returns when the load has begun."""
    arguments = (url, json.dumps(body), str(rate), str(count))
    kubectl.apply(python("load", image, _GENERATOR, *arguments))
    ready = "--for=jsonpath={.status.phase}=Running"
    kubectl("wait", "pod/load", ready, "--timeout=90s")
    until(lambda: "begun" in kubectl("logs", "load"), "first request of the load")
    return Load(kubectl, "load", count)
