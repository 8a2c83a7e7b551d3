"""`smart-embedder bench`: latency and throughput of any running server, as a table or JSON.

A closed loop: each of `--concurrency` connections sends its next request when the last one is
answered. Every text is new, so neither the cache nor the in-flight de-duplication flatters the
figures. It speaks the native dialect and knows nothing of the engine.
"""

import argparse
import http.client
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TextIO

import msgspec

from smart_embedder.client import Connection, Target
from smart_embedder.table import ascii_table

HEADER = (
    *("Scenario", "Reqs", "OK", "Fail", "Conc", "Wall", "Req/s", "Units/s"),
    *("Avg", "P50", "P95", "P99", "Min", "Max"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How hard to push."""

    concurrency: int
    requests: int
    batch_size: int
    warmup: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one scenario measured; milliseconds are of answered requests only."""

    scenario: str
    requests: int
    ok: int
    fail: int
    concurrency: int
    wall_seconds: float
    requests_per_second: float
    units_per_second: float
    avg_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float
    first_error: str

    def row(self) -> list[str]:
        """The cells under `HEADER`."""
        counts = (self.requests, self.ok, self.fail, self.concurrency)
        rates = (self.requests_per_second, self.units_per_second)
        times = (self.avg_ms, self.p50_ms, self.p95_ms, self.p99_ms, self.min_ms, self.max_ms)
        return [
            self.scenario,
            *map(str, counts),
            f"{self.wall_seconds:.2f}s",
            *(f"{rate:.1f}" for rate in rates),
            *("-" if math.isnan(value) else f"{value:.1f}ms" for value in times),
        ]


def _texts(request: int, count: int) -> list[str]:
    """Sentences of some thirty tokens that no other request carries."""
    return [
        f"Order {request}, line {line}: a hybrid search ranks passages by meaning and by words, "
        "and a second model reads the best of them again before they are shown."
        for line in range(count)
    ]


def _embed(request: int, count: int, *, full: bool) -> dict[str, Any]:
    outputs = {"return_dense": True, "return_sparse": full, "return_colbert": full}
    return {"sentences": _texts(request, count), **outputs}


def _rerank(request: int, count: int) -> dict[str, Any]:
    return {"query": f"What does order {request} rank?", "passages": _texts(request, count)}


SCENARIOS: dict[str, tuple[str, Callable[[int, int], dict[str, Any]]]] = {
    "embed_dense": ("/embeddings/", lambda request, count: _embed(request, count, full=False)),
    "embed_full": ("/embeddings/", lambda request, count: _embed(request, count, full=True)),
    "rerank": ("/rerank", _rerank),
}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def summarise(
    scenario: str, load: Load, wall: float, seconds: Sequence[float], errors: Sequence[str]
) -> Figures:
    """Turn the answered latencies and the failures of one scenario into its figures."""
    ordered = sorted(value * 1000 for value in seconds)
    rate = len(ordered) / wall if wall else math.nan
    return Figures(
        scenario=scenario,
        requests=len(ordered) + len(errors),
        ok=len(ordered),
        fail=len(errors),
        concurrency=load.concurrency,
        wall_seconds=wall,
        requests_per_second=rate,
        units_per_second=rate * load.batch_size,
        avg_ms=sum(ordered) / len(ordered) if ordered else math.nan,
        p50_ms=percentile(ordered, 0.50),
        p95_ms=percentile(ordered, 0.95),
        p99_ms=percentile(ordered, 0.99),
        min_ms=percentile(ordered, 0.0),
        max_ms=percentile(ordered, 1.0),
        first_error=next(iter(errors), ""),
    )


def measure(target: Target, scenario: str, load: Load, progress: Callable[[int], None]) -> Figures:
    """Run one scenario, warm-up first; `progress` hears how many requests are done."""
    path, payload = SCENARIOS[scenario]
    # The texts of two runs differ too, or the second would meet the cache of the first.
    numbers = itertools.count(time.time_ns() // 1_000_000)

    def send(share: Sequence[int], on_done: Callable[[], None]) -> list[float | str]:
        outcomes: list[float | str] = []
        with Connection(target) as connection:
            for _ in share:
                outcomes.append(_once(connection, path, payload(next(numbers), load.batch_size)))
                on_done()
        return outcomes

    def push(count: int, on_done: Callable[[], None]) -> list[float | str]:
        shares = [range(lane, count, load.concurrency) for lane in range(load.concurrency)]
        with ThreadPoolExecutor(load.concurrency) as lanes:
            runs = lanes.map(lambda share: send(share, on_done), shares)
            return list(itertools.chain.from_iterable(runs))

    push(load.warmup, lambda: None)
    done = itertools.count(1)
    started = time.perf_counter()
    outcomes = push(load.requests, lambda: progress(next(done)))
    wall = time.perf_counter() - started
    seconds = [outcome for outcome in outcomes if isinstance(outcome, float)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, str)]
    return summarise(scenario, load, wall, seconds, errors)


def _once(connection: Connection, path: str, payload: dict[str, Any]) -> float | str:
    """One request: the seconds it took, or what went wrong."""
    try:
        answer = connection.post(path, payload)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    if answer.status == http.HTTPStatus.OK:
        return answer.seconds
    return f"{answer.status}: {answer.body[:200].decode(errors='replace')}"


def _progress(scenario: str, total: int, out: TextIO) -> Callable[[int], None]:
    """One line for each tenth of the way."""

    def report(done: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            out.write(f"{scenario}: {done}/{total}\n")
            out.flush()

    return report


def _scenarios(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip() not in ("", "all")]
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: choose from {', '.join(SCENARIOS)}"
        )
    return names or list(SCENARIOS)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `bench` with its flags."""
    parser = subparsers.add_parser("bench", help="measure a running server")
    parser.add_argument("--url", default="http://localhost:8000", help="the server")
    parser.add_argument("--token", default=os.environ.get("API_TOKEN", ""), help="bearer token")
    parser.add_argument("--concurrency", type=_positive, default=8, help="requests in flight")
    parser.add_argument("--requests", type=_positive, default=100, help="requests per scenario")
    parser.add_argument("--batch-size", type=_positive, default=4, help="texts per request")
    parser.add_argument("--warmup", type=int, default=5, help="requests that are not measured")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one request")
    parser.add_argument(
        "--max-batch-size", type=int, default=128, help="refuse a larger --batch-size; 0: no limit"
    )
    parser.add_argument(
        "--scenarios",
        type=_scenarios,
        default=list(SCENARIOS),
        help="all, or embed_dense,embed_full,…",
    )
    parser.add_argument("--sleep-between", type=float, default=0, help="seconds between scenarios")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Measure each scenario; 0 when every request was answered 200, 1 when not, 2 for a misuse."""
    if 0 < args.max_batch_size < args.batch_size:
        err.write(
            f"--batch-size {args.batch_size} is above --max-batch-size {args.max_batch_size}\n"
        )
        return 2
    target = Target(url=args.url, token=args.token, timeout=args.timeout)
    load = Load(
        concurrency=args.concurrency,
        requests=args.requests,
        batch_size=args.batch_size,
        warmup=args.warmup,
    )
    figures: list[Figures] = []
    for scenario in args.scenarios:
        if figures:
            time.sleep(args.sleep_between)
        figures.append(measure(target, scenario, load, _progress(scenario, load.requests, err)))
    out.write(_report(figures, as_json=args.json) + "\n")
    for row in figures:
        if row.first_error:
            err.write(f"{row.scenario}: {row.fail} failed, the first with {row.first_error}\n")
    return int(any(row.fail for row in figures))


def _report(figures: Sequence[Figures], *, as_json: bool) -> str:
    if as_json:
        # msgspec writes NaN as null.
        return msgspec.json.format(msgspec.json.encode([asdict(row) for row in figures])).decode()
    return ascii_table(HEADER, [row.row() for row in figures])
