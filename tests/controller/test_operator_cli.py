"""The command line, and the process it starts: from nothing to ready and back."""

import asyncio
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from smart_embedder_operator import handlers, heartbeat, kinds
from smart_embedder_operator.app import Operator, platform
from smart_embedder_operator.cli import main
from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.kube import KubeError
from smart_embedder_operator.labels import common
from smart_embedder_operator.leader import LEASES
from smart_embedder_operator.metrics_api.apiservice import API_SERVICES
from smart_embedder_operator.metrics_api.front_proxy import CONFIG_MAPS, NAME, NAMESPACE
from smart_embedder_operator.settings import Settings
from smart_embedder_operator.telemetry import Telemetry

EMBEDDER = {
    "apiVersion": "smart-embedder.io/v1alpha1",
    "kind": "Embedder",
    "metadata": {"name": "search", "namespace": "ml"},
    "spec": {"models": {"embedding": "BAAI/bge-m3"}},
}


def test_version_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_crd_prints_the_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert written["kind"] == "CustomResourceDefinition"


def test_render_prints_every_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "embedder.yaml"
    path.write_text(yaml.safe_dump(EMBEDDER))
    assert main(["render", "-f", str(path)]) == 0
    printed = {item["kind"] for item in yaml.safe_load_all(capsys.readouterr().out)}
    assert printed >= {"Deployment", "Service", "ConfigMap", "ServiceAccount"}


@pytest.mark.parametrize("text", ["", "kind: Pod"])
def test_render_says_what_it_cannot_render(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    path = tmp_path / "embedder.yaml"
    path.write_text(text)
    assert main(["render", "-f", str(path)]) == 2
    assert "no Embedder" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", "/nowhere.yaml"]) == 2
    assert "/nowhere.yaml" in capsys.readouterr().err


def test_a_typo_in_the_environment_ends_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMART_EMBEDDER_WATCH_NAMESPACE", "ml")
    assert main(["run"]) == 2
    assert "SMART_EMBEDDER_WATCH_NAMESPACE is not a setting" in capsys.readouterr().err


def test_profiles_come_from_their_file_beside_the_built_in_ones(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text("l4: {device: cuda, resources: {limits: {nvidia.com/gpu: '1'}}}")
    found = platform(Settings(profiles_file=str(path), default_image="service:1"))
    assert {"l4", "cpu", "nvidia"} <= found.profiles.keys()
    assert found.images.cuda == found.images.cpu == "service:1"


class Replica:
    """An operator on a cluster in memory; its watches reach nobody."""

    def __init__(self, kube: Any, ports: list[int]) -> None:
        self.kube = kube
        self.probe_port, self.metrics_port, self.api_port = ports
        settings = Settings(
            host="127.0.0.1",
            probe_port=self.probe_port,
            metrics_port=self.metrics_port,
            metrics_api_port=self.api_port,
            metrics_api=True,
            pod_namespace="ops",
        )
        nobody = Credentials(server="http://127.0.0.1:1")
        self.operator = Operator(
            settings, kube=kube, elections=kube, credentials=nobody, telemetry=Telemetry()
        )
        self.stop = asyncio.Event()

    async def page(self, port: int, path: str) -> str:
        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return str(response.read().decode())

        return await asyncio.to_thread(read)


@pytest.fixture
def replica(
    kube: Any, unused_ports: Any, authority_pem: str, monkeypatch: pytest.MonkeyPatch
) -> Replica:
    async def watch(_: Any, __: Any, ___: Any, stop: asyncio.Event) -> None:
        await stop.wait()  # there is no API server to watch

    monkeypatch.setattr(handlers, "watch", watch)
    data = {"requestheader-client-ca-file": authority_pem, "requestheader-allowed-names": "[]"}
    kube.put(CONFIG_MAPS, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data})
    return Replica(kube, unused_ports(3))


@pytest.mark.anyio
async def test_a_replica_starts_works_and_stops_in_good_order(
    kube: Any, replica: Replica, eventually: Any
) -> None:
    kube.put(kinds.EMBEDDERS, EMBEDDER)
    running = asyncio.create_task(replica.operator.run(replica.stop))
    await eventually(lambda: kube.find(kinds.SERVICES, "search", "ml"))
    await eventually(lambda: replica.operator.not_ready() is None)
    assert await replica.page(replica.probe_port, "/healthz") == "ok"
    assert await replica.page(replica.probe_port, "/readyz") == "ok"
    page = await replica.page(replica.metrics_port, "/metrics")
    assert 'leader_election_master_status{name="embedder"} 1.0' in page
    api = "v1beta2.custom.metrics.k8s.io"
    await eventually(lambda: kube.find(API_SERVICES, api))
    replica.stop.set()
    await asyncio.wait_for(running, 20)
    assert kube.find(API_SERVICES, api) is None
    lease = kube.find(LEASES, "smart-embedder-operator", "ops")
    assert lease["spec"]["holderIdentity"] == ""
    assert replica.operator.not_ready() == "stopping"


@pytest.mark.anyio
async def test_a_replica_that_loses_its_rights_first_still_stops(
    kube: Any, replica: Replica, eventually: Any
) -> None:
    """Uninstalling may delete the roles before the pods."""
    running = asyncio.create_task(replica.operator.run(replica.stop))
    await eventually(lambda: replica.operator.not_ready() is None)
    kube.refuse = lambda *_: KubeError("forbidden", status=403)
    replica.stop.set()
    await asyncio.wait_for(running, 20)


@pytest.mark.anyio
async def test_a_replica_that_led_tells_of_no_embedder_any_more(
    kube: Any, replica: Replica, eventually: Any
) -> None:
    kube.put(kinds.EMBEDDERS, EMBEDDER)
    leading = asyncio.create_task(replica.operator._lead())
    page = replica.operator._telemetry.page
    await eventually(lambda: b'type="Ready"' in page())
    reconciler = replica.operator._reconciler
    await eventually(lambda: reconciler._pauses)
    replica.operator._queue._observer.added(1)
    reconciler.troubled.add(("ml", "search"))
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert b'embedder="search"' not in page()
    assert not reconciler.troubled
    assert not reconciler._pauses
    assert ("ml", "search") not in replica.operator._queue  # or the next turn would leave it out
    assert b'workqueue_depth{name="embedder"} 0.0' in page()


def test_a_replica_in_waiting_gathers_no_work(replica: Replica) -> None:
    queue, event = replica.operator._queue, replica.operator._watcher._dispatcher.event
    event(kinds.EMBEDDERS, "ADDED", EMBEDDER)
    assert len(queue) == 0
    replica.operator._elector.leading = True
    event(kinds.EMBEDDERS, "DELETED", EMBEDDER)
    assert len(queue) == 1


@pytest.mark.anyio
async def test_pods_that_run_and_were_never_told_of_are_taken_in_and_make_their_watch_doubted(
    kube: Any, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "OVERDUE_SECONDS", -1.0)
    metadata = {"name": "a", "namespace": "ml", "labels": common("search")}
    running = {"podIP": "10.0.0.1", "phase": "Running"}
    operator = replica.operator
    told = kube.put(kinds.PODS, {"metadata": metadata, "status": running})
    operator._watcher._dispatcher.event(kinds.PODS, "ADDED", told)
    kube.put(kinds.PODS, {"metadata": metadata | {"name": "pending"}})
    await operator._relist_pods()
    assert operator.not_alive() is None
    kube.put(kinds.PODS, {"metadata": metadata | {"name": "b"}, "status": running})
    await operator._relist_pods()
    assert {pod.name for pod in operator._pods} == {"a", "b"}
    assert operator.not_alive() == "no events any more for pods"
    operator._watcher._dispatcher.event(kinds.PODS, None, told)
    assert operator.not_alive() is None


def test_a_dead_watch_and_a_reconcile_that_hangs_are_worth_a_restart(replica: Replica) -> None:
    assert replica.operator.not_alive() is None
    replica.operator._heartbeat._expected_since[kinds.SERVICES, ""] = -1e9
    assert replica.operator.not_alive() == "no events any more for services"
    replica.operator._heartbeat._expected_since[kinds.JOBS, "ml"] = -1e9
    assert replica.operator.not_alive() == "no events any more for services, jobs in ml"
    replica.operator._heartbeat._expected_since.clear()
    replica.operator._queue._busy["ml", "search"] = -1e9
    assert replica.operator.not_alive() == "a reconcile hangs and does not end when cancelled"
