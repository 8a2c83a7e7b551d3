"""kopf's part: it watches, and hands every event on. The only file that knows kopf.

Low-level event handlers only: they write nothing to the objects they watch (no annotations, no
finalizers) and keep no state, which a level-triggered reconcile does not need.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import kopf

from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.kube import Manifest, Resource

OnEvent = Callable[[Resource, str | None, Manifest], None]
"""Told of every event: the kind, ADDED, MODIFIED, DELETED or None (listed), and the object."""


class NoDiffs(kopf.DiffBaseStorage):
    """kopf compares every object with its last handled state; nobody here asks for that."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def registry(
    watched: Iterable[Resource], on_event: OnEvent, credentials: Credentials
) -> kopf.OperatorRegistry:
    """Handlers that pass the events of these kinds on."""
    made = kopf.OperatorRegistry()
    for resource in watched:
        kopf.on.event(resource.group, resource.version, resource.plural, registry=made)(
            _handler(resource, on_event)
        )

    @kopf.on.login(registry=made)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_data=credentials.ca,
            token=credentials.bearer(),
            certificate_data=credentials.certificate,
            private_key_data=credentials.certificate_key,
        )

    return made


def _handler(resource: Resource, on_event: OnEvent) -> Callable[..., Awaitable[None]]:
    async def handler(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's
        on_event(resource, type, dict(body))

    return handler


def operator_settings(
    labels: dict[Resource, str], fields: dict[Resource, str]
) -> kopf.OperatorSettings:
    """How kopf watches: filtered by the server, with every wait bounded."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # new kinds are found by `cluster`, without more rights
    settings.process.ultimate_exiting_timeout = None  # the process is not kopf's to kill
    settings.persistence.diffbase_storage = NoDiffs()
    settings.networking.request_timeout = 30.0  # the default of five minutes hides a dead server
    settings.networking.connect_timeout = 10.0
    settings.watching.server_timeout = 300  # load balancers cut silent connections; we renew first
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10.0
    settings.watching.inactivity_timeout = 70.0  # a bookmark comes every minute
    settings.watching.chunk_size = 500  # as client-go; a thousand Deployments need not fit at once
    settings.queueing.idle_timeout = 0.5  # each object's task ends soon after its event
    for selectors, told in (
        (settings.watching.label_selectors, labels),
        (settings.watching.field_selectors, fields),
    ):
        for resource, selector in told.items():
            selectors[resource.group, resource.version, resource.plural] = selector
    return settings


async def watch(
    made: kopf.OperatorRegistry,
    settings: kopf.OperatorSettings,
    namespaces: Iterable[str],
    stop: asyncio.Event,
) -> None:
    """Watch until told to stop, in an event loop of kopf's own.

    On its way out kopf cancels every task of its loop that is not its own, so it gets none of
    ours.
    """
    places = tuple(namespaces)
    await kopf.operator(
        registry=made,
        settings=settings,
        standalone=True,
        clusterwide=not places,
        namespaces=places,
        stop_flag=stop,
    )
