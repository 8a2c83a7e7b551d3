"""The metrics API over real TLS: only the front proxy is answered, with what pods really said."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smart_embedder_operator.credentials import load_pem
from smart_embedder_operator.kinds import DEPLOYMENTS
from smart_embedder_operator.metrics_api import scrape
from smart_embedder_operator.metrics_api.certificate_store import (
    SECRETS,
    MountedFiles,
    OwnSecret,
)
from smart_embedder_operator.metrics_api.certificates import Certificate, new_certificate
from smart_embedder_operator.metrics_api.front_proxy import CONFIG_MAPS, NAME, NAMESPACE
from smart_embedder_operator.metrics_api.listener import Listener
from smart_embedder_operator.metrics_api.pods import PodTable
from smart_embedder_operator.metrics_api.scrape import Scraper
from smart_embedder_operator.metrics_api.server import Handler, MetricsApi

pytestmark = pytest.mark.anyio

BASE = "/apis/custom.metrics.k8s.io"
METRIC = "smart_embedder_queue_depth"


class Authority:
    """Signs client certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.sign("an authority", self.key, ca=True)

    def sign(self, name: str, key: Any, *, ca: bool = False) -> Any:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return built.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return pem(self.certificate)

    def client(self, name: str) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem(self.sign(name, key)), text.decode()


def pem(certificate: Any) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def pod(name: str, port: int, **more: Any) -> Any:
    return {
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": f"uid-{name}",
            "labels": {"smart-embedder.io/embedder": "search", "app": name},
        },
        "spec": {
            "containers": [{"name": "serve", "ports": [{"name": "metrics", "containerPort": port}]}]
        },
        "status": {
            "podIP": "127.0.0.1",
            "phase": "Running",
            "containerStatuses": [{"started": True}],
        }
        | more,
    }


@contextlib.asynccontextmanager
async def metrics_page(text: str) -> AsyncIterator[int]:
    """A pod's metrics port."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with metrics_port(page) as port:
        yield port


@contextlib.asynccontextmanager
async def metrics_port(page: Handler) -> AsyncIterator[int]:
    """A metrics port that answers as a test says."""
    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


class Harness:
    """The metrics API of one replica, its cluster in memory."""

    def __init__(self, kube: Any, port: int) -> None:
        self.kube = kube
        self.authority = Authority()
        self.front_proxy(self.authority.pem, '["front-proxy"]')
        self.pods = PodTable()
        self.news: list[str] = []
        self.scraper = Scraper(
            self.pods, period=5.0, on_news=lambda pod: self.news.append(pod.name)
        )
        store = OwnSecret(kube, namespace="ops", name="tls", dns_names=("svc.ops.svc",))
        self.store = store
        store._now = lambda: datetime.now(UTC) - timedelta(days=61)
        self.listener = Listener(
            kube, store, host="127.0.0.1", port=port, check_seconds=0.01, trust_seconds=0.2
        )
        self.api = MetricsApi(self.pods, self.scraper, self.listener.allowed_names)
        self.url = f"https://127.0.0.1:{port}"

    def front_proxy(self, authority: str, names: str) -> None:
        data = {"requestheader-client-ca-file": authority, "requestheader-allowed-names": names}
        self.kube.put(
            CONFIG_MAPS, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data}
        )

    async def scrape(self) -> None:
        async with aiohttp.ClientSession() as session:
            await self.scraper.round(session)

    async def ask(self, path: str, identity: tuple[str, str] | None = None) -> tuple[int, Any]:
        context = ssl.create_default_context(cadata=self.listener.authorities)
        context.check_hostname = False
        if identity is not None:
            load_pem(context, *identity)
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(self.url + path) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def values(self, query: str = "", pod_name: str = "*") -> dict[str, str]:
        proxy = self.authority.client("front-proxy")
        path = f"{BASE}/v1beta2/namespaces/ml/pods/{pod_name}/{METRIC}{query}"
        status, found = await self.ask(path, proxy)
        assert status == 200, found
        return {item["describedObject"]["name"]: item["value"] for item in found["items"]}


@contextlib.asynccontextmanager
async def serving(listener: Listener, api: MetricsApi) -> AsyncIterator[None]:
    task = asyncio.create_task(listener.run(api.application()))
    yield
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def harness(kube: Any, unused_ports: Any, eventually: Any) -> AsyncIterator[Harness]:
    harness = Harness(kube, unused_ports(1)[0])
    async with serving(harness.listener, harness.api):
        await eventually(lambda: harness.listener.healthy)
        yield harness


async def test_the_front_proxy_gets_discovery_and_values(harness: Harness) -> None:
    proxy = harness.authority.client("front-proxy")
    status, group = await harness.ask(BASE, proxy)
    assert (status, group["preferredVersion"]["version"]) == (200, "v1beta2")
    status, found = await harness.ask("/apis", proxy)
    assert (status, found["kind"]) == (200, "APIGroupList")
    for version in ("v1beta1", "v1beta2"):
        status, found = await harness.ask(f"{BASE}/{version}", proxy)
        assert (status, found["kind"]) == (200, "APIResourceList")


@pytest.mark.parametrize("path", ["/", "/openapi/v2", "/openapi/v3", f"{BASE}/v1"])
async def test_what_is_not_there_is_not_found_in_the_words_of_the_api(
    harness: Harness, path: str
) -> None:
    status, told = await harness.ask(path, harness.authority.client("front-proxy"))
    assert (status, told["kind"], told["reason"]) == (404, "Status", "NotFound")


async def test_without_a_client_certificate_only_health_is_answered(harness: Harness) -> None:
    status, told = await harness.ask(f"{BASE}/v1beta2")
    assert (status, told["reason"]) == (401, "Unauthorized")


async def test_a_certificate_of_the_right_authority_and_the_wrong_name_is_refused(
    harness: Harness,
) -> None:
    status, told = await harness.ask(f"{BASE}/v1beta2", harness.authority.client("somebody"))
    assert (status, told["reason"]) == (403, "Forbidden")


async def test_a_certificate_of_another_authority_does_not_pass_tls(harness: Harness) -> None:
    with pytest.raises(aiohttp.ClientError):
        await harness.ask(f"{BASE}/v1beta2", Authority().client("front-proxy"))


async def test_no_names_in_the_cluster_allow_any_that_the_authority_signed(
    harness: Harness, eventually: Any
) -> None:
    harness.front_proxy(harness.authority.pem, "[]")
    await eventually(lambda: harness.listener.allowed_names() == frozenset())
    status, _ = await harness.ask(f"{BASE}/v1beta2", harness.authority.client("anybody"))
    assert status == 200


async def test_values_are_what_the_pods_say_chosen_by_selector_and_by_name(
    harness: Harness,
) -> None:
    async with metrics_page(f"{METRIC} 12.0\n") as a, metrics_page(f"{METRIC} 3\n") as b:
        harness.pods.update(pod("a", a))
        harness.pods.update(pod("b", b))
        await harness.scrape()
    assert await harness.values() == {"a": "12", "b": "3"}
    assert await harness.values("?labelSelector=app%3Da") == {"a": "12"}
    assert await harness.values("?labelSelector=app+in+(b)") == {"b": "3"}
    assert await harness.values(pod_name="b") == {"b": "3"}
    assert sorted(harness.news) == ["a", "b"]


async def test_an_unready_pod_counts_and_a_loading_one_does_not(harness: Harness) -> None:
    unready = [{"type": "Ready", "status": "False"}]
    async with metrics_page(f"{METRIC} 5\n") as port:
        harness.pods.update(pod("overloaded", port, conditions=unready))
        loading = [{"started": False}]
        harness.pods.update(pod("loading", port, conditions=unready, containerStatuses=loading))
        await harness.scrape()
    assert await harness.values() == {"overloaded": "5"}


async def test_stale_values_and_those_of_an_earlier_pod_are_not_told(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with metrics_page(f"{METRIC} 5\n") as port:
        harness.pods.update(pod("a", port))
        await harness.scrape()
    successor = pod("a", port)
    successor["metadata"]["uid"] = "another"
    harness.pods.update(successor)
    assert await harness.values() == {}
    harness.pods.update(pod("a", port))
    assert await harness.values() == {"a": "5"}
    monkeypatch.setattr(harness.scraper, "_period", 0.0)
    assert await harness.values() == {}


async def test_a_pod_that_does_not_answer_holds_up_no_other(harness: Harness) -> None:
    async with metrics_page(f"{METRIC} 5\n") as port:
        harness.pods.update(pod("dead", 1))
        harness.pods.update(pod("a", port))
        await harness.scrape()
    assert await harness.values() == {"a": "5"}


async def test_pods_that_nobody_can_reach_come_last_and_end_with_the_round(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def silence(_: web.Request) -> web.Response:
        asked.append("silent")
        await asyncio.sleep(60)
        raise AssertionError("the round has ended long before")

    async def page(_: web.Request) -> web.Response:
        asked.append("a")
        return web.Response(text=f"{METRIC} 5\n")

    async with metrics_port(silence) as silent, metrics_port(page) as port:
        harness.pods.update(pod("a", port))
        await harness.scrape()
        harness.pods.remove(pod("a", port))
        for number in range(20):
            harness.pods.update(pod(f"silent-{number}", silent))
        harness.pods.update(pod("a", port))
        monkeypatch.setattr(scrape, "STALE_PERIODS", 1000)
        monkeypatch.setattr(scrape, "POD_SECONDS", 0.5)
        monkeypatch.setattr(harness.scraper, "_period", 0.5)
        harness.scraper._slots = asyncio.Semaphore(1)
        asked.clear()
        await asyncio.wait_for(harness.scrape(), 20)
    assert asked == ["a", "silent"]


async def test_a_page_that_comes_in_pieces_is_read_to_its_end(harness: Harness) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"# HELP\n", f"{METRIC} 1".encode(), b"2\n"):
            await response.write(piece)
            await asyncio.sleep(0.05)
        return response

    async with metrics_port(page) as port:
        harness.pods.update(pod("slow", port))
        await harness.scrape()
    assert await harness.values() == {"slow": "12"}


async def test_a_pod_that_points_elsewhere_is_not_followed(harness: Harness) -> None:
    async with metrics_page(f"{METRIC} 5\n") as other:

        async def page(_: web.Request) -> web.Response:
            raise web.HTTPFound(f"http://127.0.0.1:{other}/metrics")

        async with metrics_port(page) as port:
            harness.pods.update(pod("a", port))
            await harness.scrape()
    assert await harness.values() == {}


async def test_a_page_that_is_no_text_holds_up_no_other(harness: Harness) -> None:
    async def page(_: web.Request) -> web.Response:
        model = b'smart_embedder_model_info{role="embedding",revision="\xff"} 1\n'
        return web.Response(body=f"{METRIC} 7\n".encode() + model)

    async with metrics_port(page) as odd, metrics_page(f"{METRIC} 5\n") as port:
        harness.pods.update(pod("odd", odd))
        harness.pods.update(pod("a", port))
        await harness.scrape()
    assert await harness.values() == {"odd": "7", "a": "5"}


async def test_a_new_replica_refuses_to_tell_of_some_pods_until_it_has_asked_all_often_enough(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    proxy = harness.authority.client("front-proxy")
    path = f"{BASE}/v1beta2/namespaces/ml/pods/*/{METRIC}"
    async with metrics_page(f"{METRIC} 0\n") as port:
        harness.pods.update(pod("idle", port))
        harness.pods.update(pod("busy", 1))
        reading = asyncio.create_task(harness.scraper.run())
        await eventually(lambda: harness.news == ["idle"])
        status, told = await harness.ask(path, proxy)
        assert (status, told["reason"]) == (503, "ServiceUnavailable")
        assert await harness.values("?labelSelector=app%3Didle") == {"idle": "0"}
        monkeypatch.setattr(harness.scraper, "_began", harness.scraper._began - 15.0)
        assert await harness.values() == {"idle": "0"}
        reading.cancel()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"pods/*/{METRIC}_x", 404),
        (f"pods/nobody/{METRIC}", 404),
        (f"pods/*/{METRIC}?labelSelector=a%3Db%3Dc", 400),
    ],
)
async def test_questions_that_have_no_answer_say_so(harness: Harness, path: str, code: int) -> None:
    proxy = harness.authority.client("front-proxy")
    status, told = await harness.ask(f"{BASE}/v1beta2/namespaces/ml/{path}", proxy)
    assert (status, told["status"], told["code"]) == (code, "Failure", code)


async def test_a_new_front_proxy_authority_is_followed_and_the_old_one_is_out(
    harness: Harness, eventually: Any
) -> None:
    old = harness.authority
    harness.authority = Authority()
    harness.front_proxy(harness.authority.pem, '["front-proxy"]')

    def follows() -> bool:
        served = harness.listener._served
        return served is not None and served.front_proxy.authority == harness.authority.pem

    await eventually(follows)
    status, _ = await harness.ask(f"{BASE}/v1beta2", harness.authority.client("front-proxy"))
    assert status == 200
    with pytest.raises(aiohttp.ClientError):
        await harness.ask(f"{BASE}/v1beta2", old.client("front-proxy"))


async def test_a_renewed_certificate_is_trusted_before_it_is_served(
    harness: Harness, eventually: Any
) -> None:
    before = harness.listener._served
    assert before is not None
    harness.store._now = lambda: datetime.now(UTC)  # the first one has a third of its life left
    await eventually(lambda: harness.listener.authorities != before.certificate.authorities)
    assert harness.listener._served is not None
    assert harness.listener._served.certificate == before.certificate
    assert before.certificate.authorities in harness.listener.authorities
    await eventually(lambda: harness.listener._served.certificate != before.certificate)
    assert harness.listener.healthy


async def test_without_the_front_proxys_authority_the_port_stays_shut(
    kube: Any, unused_port: int, eventually: Any
) -> None:
    store = OwnSecret(kube, namespace="ops", name="tls", dns_names=("svc.ops.svc",))
    listener = Listener(kube, store, host="127.0.0.1", port=unused_port, check_seconds=0.01)
    serving = asyncio.create_task(listener.run(web.Application()))
    await eventually(lambda: len(kube.reads) > 5)
    assert not listener.healthy
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", unused_port)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_bundle_that_is_no_certificate_ends_nothing(
    harness: Harness, unused_port: int, eventually: Any, tmp_path: Path
) -> None:
    made = new_certificate(NAMES, datetime.now(UTC))
    for name, text in (("tls.crt", made.chain), ("tls.key", made.key), ("ca.crt", "nonsense")):
        (tmp_path / name).write_text(text)
    listener = Listener(
        harness.kube, MountedFiles(tmp_path), host="127.0.0.1", port=unused_port, check_seconds=0.01
    )
    async with serving(listener, harness.api):
        await eventually(lambda: listener._served is not None)
        await asyncio.sleep(0.05)
        assert not listener.healthy
        (tmp_path / "ca.crt").write_text(made.authorities)
        await eventually(lambda: listener.healthy)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
async def test_a_port_that_takes_ipv6_alone_finds_itself(
    harness: Harness, unused_port: int, eventually: Any
) -> None:
    listener = Listener(
        harness.kube, harness.store, host="::", port=unused_port, check_seconds=0.01
    )
    async with serving(listener, harness.api):
        await eventually(lambda: listener.healthy)


NOW = datetime(2026, 11, 20, tzinfo=UTC)
NAMES = ("svc.ops.svc",)


def test_a_certificate_is_usable_until_a_third_of_its_life_is_left() -> None:
    made = new_certificate(NAMES, NOW)
    assert made.usable(NAMES, NOW + timedelta(days=59))
    assert not made.usable(NAMES, NOW + timedelta(days=61))
    assert not made.usable(("another.ops.svc",), NOW)
    assert not Certificate("garbage", "", "").usable(NAMES, NOW)


def test_a_renewal_keeps_exactly_one_earlier_authority() -> None:
    first = new_certificate(NAMES, NOW)
    second = new_certificate(NAMES, NOW, previous=first)
    third = new_certificate(NAMES, NOW, previous=second)
    assert first.authorities in second.authorities
    assert first.authorities not in third.authorities
    assert third.authorities.count("BEGIN CERTIFICATE") == 2


async def test_replicas_that_renew_together_end_with_one_certificate(kube: Any) -> None:
    stores = [
        OwnSecret(kube, namespace="ops", name="tls", dns_names=NAMES, now=lambda: NOW)
        for _ in range(2)
    ]
    await stores[0]._secret()
    first, second = await asyncio.gather(*(store.current() for store in stores))
    assert first == second


async def test_the_certificate_goes_with_the_operators_deployment(kube: Any) -> None:
    kube.put(DEPLOYMENTS, {"metadata": {"name": "operator", "namespace": "ops"}})
    store = OwnSecret(
        kube, namespace="ops", name="tls", dns_names=NAMES, deployment="operator", now=lambda: NOW
    )
    await store.current()

    await kube.delete(DEPLOYMENTS, "operator", "ops")

    assert kube.find(SECRETS, "tls", "ops") is None
