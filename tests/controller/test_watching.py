"""Watching: which Embedder an event concerns, how kopf is told to watch, and that it comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest

from smart_embedder_operator import handlers, kinds, watching
from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.heartbeat import OVERDUE_SECONDS, Heartbeat
from smart_embedder_operator.kube import Resource
from smart_embedder_operator.metrics_api.pods import PodTable
from smart_embedder_operator.platform import Capabilities
from smart_embedder_operator.watching import Dispatcher, Watcher, WatchThread

pytestmark = pytest.mark.anyio

NOWHERE = Credentials(server="http://127.0.0.1:1")


def child(name: str = "search-a-1", **more: Any) -> dict[str, Any]:
    labels = {"smart-embedder.io/embedder": "search"}
    metadata = {"name": name, "namespace": "ml", "uid": "1", "labels": labels}
    return {"metadata": metadata} | more


class Told:
    """A dispatcher and what it put on the queue."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []
        self.pods = PodTable()
        self.heartbeat = Heartbeat()
        self.urgent: list[bool] = []
        self.dispatcher = Dispatcher(self._add, self.pods, self.heartbeat)

    def _add(self, key: tuple[str, str], *, urgent: bool) -> None:
        self.keys.append(key)
        self.urgent.append(urgent)

    def event(self, resource: Resource, change: str | None, obj: dict[str, Any]) -> None:
        self.dispatcher.event(resource, change, obj)


def test_an_embedders_own_event_and_its_childrens_are_the_same_key() -> None:
    told = Told()
    told.event(kinds.EMBEDDERS, None, {"metadata": {"name": "search", "namespace": "ml"}})
    told.event(kinds.DEPLOYMENTS, "MODIFIED", child())
    told.event(kinds.SERVICES, "DELETED", child())
    assert told.keys == [("ml", "search")] * 3
    assert told.urgent == [False, True, True]


def test_a_child_without_our_label_concerns_nobody() -> None:
    told = Told()
    told.event(kinds.SERVICES, "ADDED", {"metadata": {"name": "a", "namespace": "ml"}})
    assert told.keys == []


def test_a_warning_about_a_pod_or_claim_of_ours_is_its_embedders() -> None:
    told = Told()
    told.event(kinds.PODS, None, child())
    told.event(kinds.VOLUME_CLAIMS, None, child("cache"))
    told.keys.clear()

    def warning(kind: str, name: str) -> dict[str, Any]:
        about = {"kind": kind, "name": name, "namespace": "ml"}
        return {"metadata": {"name": "e", "namespace": "ml"}, "involvedObject": about}

    told.event(kinds.EVENTS, "ADDED", warning("Pod", "search-a-1"))
    told.event(kinds.EVENTS, "ADDED", warning("PersistentVolumeClaim", "cache"))
    told.event(kinds.EVENTS, "ADDED", warning("Pod", "a-strangers"))
    assert told.keys == [("ml", "search")] * 2
    told.event(kinds.PODS, "DELETED", child())
    told.keys.clear()
    told.event(kinds.EVENTS, "ADDED", warning("Pod", "search-a-1"))
    assert told.keys == []


def test_our_own_status_and_an_autoscalers_readings_call_for_no_look() -> None:
    told = Told()

    def embedder(**more: Any) -> dict[str, Any]:
        return {"metadata": {"name": "search", "namespace": "ml", **more}, "spec": {}}

    def scaler(reading: int, **more: Any) -> dict[str, Any]:
        return child("search", status={"currentMetrics": [reading], **more})

    told.event(kinds.EMBEDDERS, "ADDED", embedder())
    told.event(kinds.EMBEDDERS, "MODIFIED", embedder(resourceVersion="2") | {"status": {"a": 1}})
    told.event(kinds.AUTOSCALERS, "ADDED", scaler(1))
    told.event(kinds.AUTOSCALERS, "MODIFIED", scaler(2))
    assert len(told.keys) == 2
    told.event(kinds.EMBEDDERS, "MODIFIED", embedder(generation=2))
    told.event(kinds.AUTOSCALERS, "MODIFIED", scaler(2, desiredReplicas=4))
    assert len(told.keys) == 4
    told.event(kinds.EMBEDDERS, None, embedder(generation=2))  # listed: events may be lost
    told.event(kinds.EMBEDDERS, "DELETED", embedder(generation=2))
    told.event(kinds.EMBEDDERS, "ADDED", embedder(generation=2))
    assert len(told.keys) == 7


def test_a_route_that_changes_is_news_to_those_who_dispute_it() -> None:
    told = Told()

    def write(name: str, host: str | None, change: str | None = "MODIFIED") -> None:
        metadata = {"name": name, "namespace": "ml", "resourceVersion": f"{name}-{host}"}
        route = {"parentRefs": [{"name": "public"}], "hostnames": [host]}
        told.keys.clear()
        told.event(
            kinds.EMBEDDERS,
            change,
            {"metadata": metadata, "spec": {"route": route} if host else {}},
        )

    write("a", "one.example.com", change=None)
    write("b", "two.example.com", change=None)
    assert told.keys == [("ml", "b")]
    write("b", "one.example.com")
    assert told.keys == [("ml", "b"), ("ml", "a")]
    write("b", "one.example.com", change=None)
    assert told.keys == [("ml", "b")]
    write("b", None)
    assert told.keys == [("ml", "b"), ("ml", "a")]
    write("b", "one.example.com")
    write("b", "one.example.com", change="DELETED")
    assert told.keys == [("ml", "b"), ("ml", "a")]


def test_pods_are_noted_for_scraping_and_forgotten() -> None:
    told = Told()
    running = child(status={"podIP": "10.0.0.1", "phase": "Running"})
    told.event(kinds.PODS, "ADDED", running)
    assert [pod.name for pod in told.pods] == ["search-a-1"]
    told.event(kinds.PODS, "DELETED", running)
    assert len(told.pods) == 0


def test_a_change_of_ours_that_never_comes_back_is_a_dead_watch() -> None:
    now = 0.0
    heartbeat = Heartbeat(clock=lambda: now)
    heartbeat.changed(kinds.SERVICES, "ml", now)
    now = OVERDUE_SECONDS - 1
    heartbeat.changed(kinds.SERVICES, "ml", now)
    assert heartbeat.overdue() == ()
    now = OVERDUE_SECONDS + 1
    assert heartbeat.overdue() == ((kinds.SERVICES, ""),)
    heartbeat.seen(kinds.SERVICES, "other")
    assert heartbeat.overdue() == ()


def test_where_each_namespace_has_its_watch_anothers_events_prove_nothing() -> None:
    now = 0.0
    heartbeat = Heartbeat(by_namespace=True, clock=lambda: now)
    heartbeat.changed(kinds.SERVICES, "ml", now)
    now = OVERDUE_SECONDS + 1
    heartbeat.seen(kinds.SERVICES, "other")
    assert heartbeat.overdue() == ((kinds.SERVICES, "ml"),)
    heartbeat.seen(kinds.SERVICES, "ml")
    assert heartbeat.overdue() == ()


def test_an_event_that_overtakes_the_answer_to_our_change_is_seen_all_the_same() -> None:
    now = 0.0
    heartbeat = Heartbeat(clock=lambda: now)
    began = heartbeat.now()
    now = 1.0
    heartbeat.seen(kinds.SERVICES, "ml")
    heartbeat.changed(kinds.SERVICES, "ml", began)
    now = OVERDUE_SECONDS * 2
    assert heartbeat.overdue() == ()


def test_every_watched_kind_has_an_event_handler_and_no_other_kind_of_handler() -> None:
    watched = kinds.watched(Capabilities(service_monitor=True))
    made = handlers.registry(watched, lambda *_: None, NOWHERE)
    assert len(made._watching.get_all_handlers()) == len(watched)
    assert kinds.SERVICE_MONITORS in watched
    for writes in (made._changing, made._spawning, made._indexing, made._webhooks):
        assert not writes.get_all_handlers()


def test_children_are_chosen_by_the_server_and_every_wait_is_bounded() -> None:
    settings = handlers.operator_settings({kinds.PODS: "a=b"}, {kinds.EVENTS: "type=Warning"})
    assert list(settings.watching.label_selectors.values()) == ["a=b"]
    assert list(settings.watching.field_selectors.values()) == ["type=Warning"]
    assert settings.watching.server_timeout == 300
    assert settings.watching.client_timeout == 310
    assert settings.networking.request_timeout == 30
    assert settings.scanning.disabled
    assert not settings.posting.enabled


async def test_an_event_is_passed_on_with_its_kind_and_change() -> None:
    seen: list[Any] = []
    made = handlers.registry([kinds.PODS], lambda *event: seen.append(event), NOWHERE)
    (handler,) = made._watching.get_all_handlers()
    obj = {"metadata": {"name": "a"}}
    await handler.fn(type="ADDED", body=kopf.Body(obj))  # type: ignore[call-arg]
    assert seen == [(kinds.PODS, "ADDED", obj)]


@contextlib.asynccontextmanager
async def watcher(
    monkeypatch: pytest.MonkeyPatch, watch: Any, when_blind: Any = None
) -> AsyncIterator[Watcher]:
    monkeypatch.setattr(watching, "FIRST_RESTART_SECONDS", 0.001)
    monkeypatch.setattr(handlers, "watch", watch)
    told = Told()
    one = Watcher(NOWHERE, (), told.dispatcher, when_blind=when_blind)
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_watches_that_end_by_an_error_start_again_and_meanwhile_all_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, starts, looks = asyncio.get_running_loop(), asyncio.Queue[int](), asyncio.Queue[int]()

    async def look() -> None:
        looks.put_nowait(1)

    async def watch(*_: Any) -> None:
        loop.call_soon_threadsafe(starts.put_nowait, 1)
        raise ValueError("a framework's depths")

    async with watcher(monkeypatch, watch, look) as one:
        one.watch((kinds.PODS,))
        for _ in range(3):
            await asyncio.wait_for(starts.get(), 5)
            await asyncio.wait_for(looks.get(), 5)


async def test_watches_start_anew_for_other_kinds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, starts = asyncio.get_running_loop(), asyncio.Queue[int]()

    async def watch(made: Any, _: Any, __: Any, stop: asyncio.Event) -> None:
        loop.call_soon_threadsafe(starts.put_nowait, len(made._watching.get_all_handlers()))
        await stop.wait()

    async with watcher(monkeypatch, watch) as one:
        await asyncio.sleep(0)
        assert starts.empty()
        one.watch((kinds.PODS,))
        assert await asyncio.wait_for(starts.get(), 5) == 1
        one.watch((kinds.PODS,))
        one.watch((kinds.PODS, kinds.SERVICES))
        assert await asyncio.wait_for(starts.get(), 5) == 2
        assert starts.empty()


async def test_a_thread_whose_waiter_has_gone_ends_by_itself() -> None:
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def watch(stop: asyncio.Event) -> None:
        loop.call_soon_threadsafe(entered.set)
        await stop.wait()

    thread = WatchThread(watch)
    await asyncio.wait_for(entered.wait(), 5)
    thread.stop()
    await asyncio.wait_for(thread.ended, 5)
    thread.stop()
