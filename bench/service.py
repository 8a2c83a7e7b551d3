"""`make bench-service`: what the service itself costs, and how it behaves beyond its capacity.

Server and load generator share this machine. The models cost nothing or exactly what they are told
to, so the figures are those of HTTP, tokenizing, scheduling and shaping alone. Everything goes over
the loopback; the last run is kept in `bench/results/service.json`.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import service_cases, service_drain, service_models, service_telemetry
from bench.service_cases import Figures
from smart_embedder.table import ascii_table

RESULTS = Path(__file__).parent / "results" / "service.json"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to stay on one side of a limit."""

    case: str
    figure: str
    least: float = -math.inf
    most: float = math.inf

    def met_by(self, value: float) -> bool:
        """Say whether it does."""
        return self.least <= value <= self.most

    @property
    def words(self) -> str:
        """The limit, to be read."""
        if self.least == self.most:
            return f"{self.most:g}"
        return f">= {self.least:g}" if math.isfinite(self.least) else f"<= {self.most:g}"


GOALS = (
    Goal("throughput", "texts_per_second", least=6000),
    Goal("throughput", "overhead_share_of_model_time", most=0.05),
    Goal("latency", "p99_over_p50", most=2.0),
    Goal("latency_fast", "p99_over_p50", most=2.0),
    Goal("overload_fast", "goodput_share_of_capacity", least=0.95),
    Goal("overload_fast", "refusal_p99_ms", most=20),
    Goal("overload", "goodput_share_of_capacity", least=0.95),
    Goal("overload", "refusal_p99_ms", most=20),
    Goal("overload", "others", most=0),
    Goal("fairness", "rise_in_batches", most=1.0),
    Goal("fairness", "rise_in_nominal_batches", most=1.0),
    Goal("memory", "growth", most=0.05),
    Goal("demo", "p99_over_p50", most=2.0),
    Goal("full_shape", "p99_over_p50", most=2.0),
    Goal("full_shape", "goodput_share_of_capacity", least=0.95),
    Goal("full_shape", "refusal_p99_ms", most=20),
    Goal("demo_fairness", "rise_in_batches", most=1.0),
    Goal("telemetry", "null_metrics_and_logs_share", most=0.03),
    Goal("telemetry", "null_traces_too_share", most=0.05),
    Goal("telemetry", "demo_metrics_and_logs_share", most=0.03),
    Goal("telemetry", "demo_traces_too_share", most=0.05),
    Goal("drain", "answered_200", least=4000),
    Goal("drain", "reset_or_other", most=0),
    Goal("drain", "late_503", least=40),
    Goal("drain", "exit_0", least=20),
)

CASES: dict[str, Callable[[], Coroutine[None, None, Figures]]] = {
    "throughput": lambda: service_cases.throughput(seconds=10),
    # A T4 takes 18 ms for a pass of short texts; at 4 ms the service itself shows.
    "latency": lambda: service_cases.latency(seconds=10, pass_seconds=0.018),
    "latency_fast": lambda: service_cases.latency(seconds=10, pass_seconds=0.004),
    # Ten times 50 a second floods the device alone; ten times 125 the two shared cores as well.
    "overload": lambda: service_cases.overload(seconds=8, text_seconds=0.020),
    "overload_fast": lambda: service_cases.overload(seconds=8, text_seconds=0.008),
    "fairness": service_cases.fairness,
    "memory": service_cases.memory,
    "demo": service_models.demo,
    "demo_fairness": service_models.demo_fairness,
    "full_shape": service_models.full_shape,
    "telemetry": service_telemetry.telemetry,
    "drain": service_drain.drain,
}


def main() -> int:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}")
    names = parser.parse_args().cases or list(CASES)
    found = {}
    for name in names:
        print(f"{name} …", flush=True)
        found[name] = uvloop.run(CASES[name]())
        for figure, value in found[name].items():
            print(
                f"    {figure}: {value:,.3f}"
                if isinstance(value, float)
                else f"    {figure}: {value}"
            )
    print(_table(found))
    _keep(found)
    return 0


def _table(found: dict[str, Figures]) -> str:
    rows = []
    for goal in GOALS:
        if goal.case in found:
            value = float(found[goal.case][goal.figure])
            verdict = "met" if goal.met_by(value) else "MISSED"
            rows.append((goal.case, goal.figure, f"{value:,.3f}", goal.words, verdict))
    return ascii_table(("Case", "Figure", "Measured", "Goal", ""), rows, left=2)


def _keep(found: dict[str, Figures]) -> None:
    """Put new figures in the place of old ones of the same case."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    kept |= {name: figures | machine | {"measured_at": stamp} for name, figures in found.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
