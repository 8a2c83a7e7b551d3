"""Our engine beside its peers, on full-shape BGE-M3: `python -m bench.engine [--quick]`.

Every engine sits loaded in a process of its own; they take turns, case by case and round by round,
so that whatever else the machine does hits all alike. Read the ratios, not the seconds.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import full_shape
from bench.cases import CASES, Case
from bench.workers import Worker, loaded

RESULTS = Path(__file__).parent / "results" / "engine.json"
OURS = "ours fp32", "ours int8"
FP32 = ("FlagEmbedding", "transformers", "m3serve", "openvino fp32")
INT8 = ("openvino w8", "onnxruntime int8")
NO_RERANK = ("m3serve", "infinity")


@dataclass
class Measured:
    """Seconds by case and engine, and the rate of the products in between."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    flops: list[float] = field(default_factory=list)
    bytes_: list[float] = field(default_factory=list)

    def add(self, case: Case, engine: str, seconds: float) -> None:
        """Note one pass."""
        self.seconds.setdefault(case.name, {}).setdefault(engine, []).append(seconds)

    def ratio(self, case: str, rival: str, ours: str) -> float:
        """How many times as fast ours is: the median of the rounds' own ratios."""
        engines = self.seconds[case]
        return statistics.median(
            theirs / mine for theirs, mine in zip(engines[rival], engines[ours], strict=True)
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, write."""
    asked = _arguments().parse_args(arguments)
    folder = asked.folder
    print(f"writing full-shape models to {folder} (4.6 GB, kept for the next run)", flush=True)
    full_shape.write(folder, asked.std)
    pythons = dict.fromkeys((*OURS, *FP32, *INT8), sys.executable)
    if asked.infinity:
        pythons["infinity"] = asked.infinity
    with loaded(pythons, folder, asked.threads) as workers:
        measured = _measure(workers, rounds=asked.rounds, bulk=not asked.quick)
        cosines = _cosines(workers, folder)
        int8 = _int8_quality(workers[:2], folder)
    summary = summarise(measured, asked.threads)
    summary |= {"least_cosine_to_transformers": cosines, "int8_beside_fp32": int8}
    print(table(summary))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"written to {RESULTS}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the long bulk job out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "smart-embedder-bench"
    )
    parser.add_argument(
        "--std",
        type=float,
        help="of the weights; 0.02 is transformers' own (with another --folder)",
    )
    parser.add_argument(
        "--infinity", help="a Python that has infinity-emb[torch], which wants older libraries"
    )
    return parser


def _measure(workers: Sequence[Worker], *, rounds: int, bulk: bool) -> Measured:
    measured = Measured()
    for round_ in range(rounds + 1):
        for case in CASES:
            # The first round warms every shape up; the long job is its own warm-up.
            if case.bulk and not (bulk and round_ == rounds):
                continue
            limits = workers[0].ask(do="limits")
            measured.flops.append(limits["flops"])
            measured.bytes_.append(limits["bytes"])
            for worker in workers:
                if case.query_tokens and worker.name in NO_RERANK:
                    continue
                repeats = 5 if case.name == "short" else 1
                took = [worker.ask(do="case", case=case.name)["seconds"] for _ in range(repeats)]
                if round_:
                    measured.add(case, worker.name, statistics.median(took))
        print(f"round {round_} of {rounds} done", flush=True)
    return measured


def _cosines(workers: Sequence[Worker], folder: Path) -> dict[str, float]:
    """The smallest cosine of each engine's dense vectors to transformers' own."""
    vectors = {}
    for worker in workers:
        path = folder / f"{worker.name.replace(' ', '-')}.npy"
        worker.ask(do="vectors", to=str(path))
        vectors[worker.name] = np.load(path)
    truth = vectors["transformers"]
    return {
        name: round(float((rows * truth).sum(axis=1).min()), 6) for name, rows in vectors.items()
    }


def _int8_quality(ours: Sequence[Worker], folder: Path) -> dict[str, float]:
    """What our int8 changes beside our fp32, at its worst and, for single tokens, at its median."""
    paths = [folder / f"{worker.name.replace(' ', '-')}.npz" for worker in ours]
    for worker, path in zip(ours, paths, strict=True):
        worker.ask(do="save", to=str(path))
    exact, rounded = (np.load(path) for path in paths)
    tokens = (exact["colbert"] * rounded["colbert"]).sum(axis=1)
    kept = [
        len(set(np.argsort(one)[-10:]) & set(np.argsort(other)[-10:])) / 10
        for one, other in zip(exact["sparse"], rounded["sparse"], strict=True)
    ]
    return {
        "least_dense_cosine": round(
            float((exact["dense"] * rounded["dense"]).sum(axis=1).min()), 5
        ),
        "least_colbert_cosine": round(float(tokens.min()), 5),
        "median_colbert_cosine": round(float(np.median(tokens)), 5),
        "least_share_of_ten_strongest_ids_kept": min(kept),
        "mean_share_of_ten_strongest_ids_kept": round(statistics.mean(kept), 3),
    }


def summarise(measured: Measured, threads: int) -> dict[str, Any]:
    """The figures of speed, as they go into the results file."""
    flops, read = statistics.median(measured.flops), statistics.median(measured.bytes_)
    limit = flops / full_shape.FLOPS_PER_TOKEN
    cases: dict[str, Any] = {}
    for case in CASES:
        if case.name not in measured.seconds:
            continue
        medians = {
            engine: statistics.median(took) for engine, took in measured.seconds[case.name].items()
        }
        cases[case.name] = {
            "about": case.about,
            "tokens": case.tokens,
            "seconds": {engine: round(value, 4) for engine, value in medians.items()},
            "tokens_per_second": {
                engine: round(case.tokens / value) for engine, value in medians.items()
            },
            "share_of_fp32_limit": {
                engine: round(case.tokens / value / limit, 2) for engine, value in medians.items()
            },
            "times_as_fast": {
                ours: {
                    rival: round(measured.ratio(case.name, rival, ours), 2)
                    for rival in medians
                    if rival != ours
                }
                for ours in OURS
            },
        }
    return {
        "machine": {"processor": _processor(), "threads": threads, "load": os.getloadavg()},
        "fp32_gflops": round(flops / 1e9),
        "limit_tokens_per_second": round(limit),
        "read_gb_per_second": round(read / 1e9),
        # A weight is two FLOPs a token and four bytes.
        "least_ms_of_short": {
            "to read the weights": round(full_shape.FLOPS_PER_TOKEN * 2 / read * 1e3, 1),
            "to multiply": round(12 / limit * 1e3, 1),
        },
        "cases": cases,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def table(summary: dict[str, Any]) -> str:
    """Draw the rates of every engine, and how many times as fast as each of them ours are."""
    cases = summary["cases"]
    machine = summary["machine"]
    limit = f"{summary['fp32_gflops']} GFLOP/s: {summary['limit_tokens_per_second']} tokens/s"
    engines = summary["least_cosine_to_transformers"]
    lines = [
        "",
        f"{machine['processor']}, {machine['threads']} threads; fp32 products at {limit}",
        f"short in fp32 takes at least, in ms: {summary['least_ms_of_short']}",
        "",
        f"{'tokens/s (short: ms)':<20}"
        + "".join(f"{name:>18}" for name in cases)
        + f"{'cosine':>10}",
    ]
    for engine, cosine in engines.items():
        cells = [_cell(name, engine, case) for name, case in cases.items()]
        lines.append(
            f"{engine:<20}" + "".join(f"{cell:>18}" for cell in cells) + f"{cosine:>10.5f}"
        )
    for ours in OURS:
        lines += ["", f"{ours}: times as fast as"]
        for rival in engines:
            if rival in OURS or (ours == OURS[0] and rival in INT8):
                continue
            ratios = [case["times_as_fast"][ours].get(rival) for case in cases.values()]
            cells = ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            lines.append(f"  {rival:<18}" + "".join(f"{cell:>18}" for cell in cells))
    lines += ["", "int8 beside fp32, all heads:", f"  {summary['int8_beside_fp32']}"]
    return "\n".join(lines)


def _cell(name: str, engine: str, case: dict[str, Any]) -> str:
    if engine not in case["seconds"]:
        return "-"
    if name == "short":
        return f"{case['seconds'][engine] * 1000:.0f} ms"
    return f"{case['tokens_per_second'][engine]} ({case['share_of_fp32_limit'][engine]:.0%})"


if __name__ == "__main__":
    main()
