"""How the served models come onto the devices. The only way from the engine to weights."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from smart_embedder.options import EngineOptions
from smart_embedder.results import Report
from smart_embedder.scheduling.replica import Replica

Loader = Callable[[EngineOptions, Report], Sequence[Replica]]
"""Builds one replica for each device; runs in a thread of its own and may take minutes."""

Result = TypeVar("Result")


async def beside(function: Callable[[], Result]) -> Result:
    """Run a long function in a thread that does not keep the process when nobody waits for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: Exception | None) -> None:
        if done.done():
            return
        if error:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # there is a result without an error

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as caught:  # noqa: BLE001 - raised again in the task that waits
            error = caught
        # The loop is closed when the process ended before the models were there.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="loader", daemon=True).start()
    return await done


def load(options: EngineOptions, report: Report) -> Sequence[Replica]:
    """Load what the options name; what that takes is imported only now, because it brings torch."""
    from smart_embedder.placing import place  # noqa: PLC0415 - as said

    return place(options, report)
