"""Every query of every dashboard and alert, asked of a real Prometheus over a real service."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from smart_embedder_operator.telemetry import Telemetry

pytestmark = pytest.mark.prometheus

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/smart-embedder"
SILENT = {
    "Cache hits": "no share of nothing, when all that was asked in the window was new",
    "Not Ready, Degraded or rolling": "the one Embedder here is well",
}
"""Panels that may be empty on a service in good health, and why."""
WAIT_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {WAIT_SECONDS:.0f} s")
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether a server answers well."""
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service with demo models, in a process of its own."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/root"),
        "EMBEDDING_MODEL": "demo/bge-m3",
        "RERANKER_MODEL": "demo/bge-reranker-v2-m3",
        "MODEL_DEVICE": "cpu",
        "TORCH_THREADS": "1",
        "METRICS_PORT": "0",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "smart_embedder.cli", "serve", "--host", "127.0.0.1"]
    log = tmp_path_factory.mktemp("service") / "log"
    with log.open("wb") as page:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=environment, stdout=page, stderr=page
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"), "the service is ready")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def operator() -> Iterator[int]:
    """The operator's metrics page, after it reconciled one healthy Embedder."""
    telemetry = Telemetry()
    telemetry.watch_leadership(lambda: True)
    telemetry.queue.watch_work(list)

    def reconcile() -> None:
        telemetry.request("GET", 200)
        telemetry.queue.added(1)
        telemetry.queue.started(0, 0.01)
        telemetry.queue.finished(0.1, "success")
        telemetry.queue.retried()
        conditions = [{"type": "Ready", "status": "True"}, {"type": "Available", "status": "True"}]
        telemetry.conditions("team", "search", conditions)
        telemetry.replicas("team", "search", {"replicas": 1, "readyReplicas": 1}, 4)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reconcile()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(telemetry.page())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(
    service: int, operator: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A Prometheus that has scraped both while the service was under load."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    shutil.copy(CHART / "files/alerts.yaml", folder)
    jobs = {
        "search": (service, {"namespace": "team", "embedder": "search", "pod": "search-1"}),
        "smart-embedder-operator": (operator, {"pod": "operator-1"}),
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{target}"], "labels": labels}],
            }
            for job, (target, labels) in jobs.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{url}/-/ready"), "Prometheus is ready")
        load(service, url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def load(port: int, prometheus: str) -> None:
    """Use the service, every way the panels show, while it is scraped a dozen times."""
    scrapes = 'count_over_time(up{job="search"}[1m])'
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def seen_enough() -> bool:
            number = time.monotonic_ns()
            client.post("/embeddings/", json={"sentences": [f"text {number}", "text"]})
            client.post("/rerank", json={"query": f"q {number}", "passages": ["a", "b"]})
            client.post("/embeddings/", json={"sentences": 7})
            result = query(prometheus, scrapes)
            return bool(result) and float(result[0]["value"][1]) >= 12

        until(seen_enough, "a dozen scrapes")


def query(url: str, expression: str) -> list[dict[str, list[str]]]:
    """Ask Prometheus; an expression it cannot evaluate is a failure."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    found: list[dict[str, list[str]]] = answer["data"]["result"]
    return found


def panels() -> list[tuple[str, str, str]]:
    """Every query: dashboard, panel, expression as Grafana would send it."""
    found = []
    for path in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", "10s")
                expression = re.sub(r"\$(namespace|embedder)", ".*", expression)
                found.append((path.stem, panel["title"], expression))
    return found


def test_every_panel_has_data(prometheus: str) -> None:
    empty = [
        f"{board} / {title}: {expression}"
        for board, title, expression in panels()
        if not query(prometheus, expression) and title not in SILENT
    ]

    assert empty == []


def test_no_query_of_a_dashboard_is_left_with_a_variable_it_does_not_have() -> None:
    assert [expression for _, _, expression in panels() if "$" in expression] == []


def test_every_rule_is_evaluated_and_none_fires_on_a_service_in_good_health(
    prometheus: str,
) -> None:
    groups = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def test_the_queries_people_already_have_still_answer(prometheus: str) -> None:
    errors = (
        'rate(embedding_requests_total{status="error"}[5m])'
        " / rate(embedding_requests_total[5m]) * 100"
    )
    known = [
        "rate(embedding_requests_total[1m])",
        "histogram_quantile(0.95, rate(embedding_request_duration_seconds_bucket[5m]))",
        errors,
        "gpu_memory_allocated_bytes / 1024 / 1024 / 1024",
        "gpu_memory_reserved_bytes / 1024 / 1024 / 1024",
        "gpu_memory_free_bytes / 1024 / 1024 / 1024",
        "rate(rerank_pairs_processed_total[1m])",
        "embedding_queue_size",
        "embedding_batch_size_bucket",
    ]

    assert [expression for expression in known if not query(prometheus, expression)] == []
