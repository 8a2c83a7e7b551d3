"""`Kube` over HTTP, and the only file that speaks to the API server itself.

A read is tried a few times, because a reconcile needs a dozen to succeed together. A write is
not: the work queue knows when to try again, and looks at the truth before it does. Written on
aiohttp, which kopf brings along, because server-side apply on plain dicts needs eight requests
and no model of every Kubernetes type in memory.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Self

import aiohttp
import msgspec

from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.kube import (
    KubeError,
    Manifest,
    NotFound,
    Resource,
    error_for,
)
from smart_embedder_operator.labels import MANAGER

PAGE_SIZE = 500  # objects per list request, client-go's own chunk size
REQUEST_SECONDS = 30.0  # a request that takes longer is lost: the default of the API server is 60
READ_TRIES = 4
READ_RETRY_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0  # a server that names a later time is obeyed by the work queue
MAX_IN_FLIGHT = 20  # the API server's fairness gives one client about this much of a small cluster

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"

Observe = Callable[[str, int], None]
"""Told of every request: its HTTP verb and status (0: no answer)."""


class KubeClient:
    """An API server reached with these credentials; use as an async context manager."""

    def __init__(self, credentials: Credentials, observe: Observe = lambda _verb, _code: None):
        self._credentials = credentials
        self._observe = observe
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self._credentials.server,
            connector=aiohttp.TCPConnector(
                limit=MAX_IN_FLIGHT, ssl=await asyncio.to_thread(self._credentials.ssl_context)
            ),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=10.0),
            headers={"User-Agent": "smart-embedder-operator"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Manifest:
        return await self._read(resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> list[Manifest]:
        query = {"limit": str(PAGE_SIZE), "labelSelector": labels, "fieldSelector": fields}
        params = {key: value for key, value in query.items() if value}
        found: list[Manifest] = []
        while True:
            page = await self._read(resource.path(namespace), params)
            # Items of a list carry neither kind nor version; everything else expects them.
            head = {"apiVersion": resource.api_version, "kind": resource.kind}
            found += [head | item for item in page.get("items") or []]
            following = page.get("metadata", {}).get("continue")
            if not following:
                return found
            params["continue"] = following

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        path = resource.path(manifest["metadata"].get("namespace"))
        return await self._send("POST", path, params={"fieldManager": MANAGER}, body=manifest)

    async def apply(
        self, resource: Resource, manifest: Manifest, *, manager: str = MANAGER
    ) -> Manifest:
        params = {"fieldManager": manager, "force": "true"}
        return await self._send(
            "PATCH", _path_of(resource, manifest), params=params, body=manifest, content_type=_APPLY
        )

    async def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        params = {"fieldManager": MANAGER}
        return await self._send("PUT", _path_of(resource, manifest), params=params, body=manifest)

    async def merge(self, resource: Resource, manifest: Manifest) -> Manifest:
        params = {"fieldManager": MANAGER}
        return await self._send(
            "PATCH", _path_of(resource, manifest), params=params, body=manifest, content_type=_MERGE
        )

    async def merge_status(
        self, resource: Resource, name: str, namespace: str, status: Manifest
    ) -> Manifest:
        return await self._send(
            "PATCH",
            resource.path(namespace, name, "status"),
            params={"fieldManager": MANAGER},
            body={"status": status},
            content_type=_MERGE,
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
    ) -> None:
        options: Manifest = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._send("DELETE", resource.path(namespace, name), body=options)

    async def kinds(self, group: str, version: str) -> frozenset[str]:
        try:
            found = await self._read(f"/apis/{group}/{version}" if group else f"/api/{version}")
        except NotFound:
            return frozenset()
        return frozenset(entry["kind"] for entry in found.get("resources", []))

    async def _read(self, path: str, params: dict[str, str] | None = None) -> Manifest:
        for attempt in range(READ_TRIES - 1):
            try:
                return await self._send("GET", path, params=params)
            except KubeError as error:
                pause = max(error.retry_after or 0.0, READ_RETRY_SECONDS * 2**attempt)
                if not error.retryable or pause > LONGEST_PAUSE_SECONDS:
                    raise
                await asyncio.sleep(pause * (1 + random.random() / 2))  # noqa: S311 - mere jitter
        return await self._send("GET", path, params=params)

    async def _send(
        self,
        verb: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = _JSON,
    ) -> Manifest:
        if self._session is None:
            raise RuntimeError("the client is used outside of its `async with`")
        headers = {"Content-Type": content_type} if body is not None else {}
        if token := self._credentials.bearer():
            headers["Authorization"] = f"Bearer {token}"
        data = msgspec.json.encode(body) if body is not None else None
        try:
            async with self._session.request(
                verb, path, params=params, data=data, headers=headers
            ) as response:
                text = await response.read()
                status, after = response.status, response.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._observe(verb, 0)
            why = str(error) or type(error).__name__
            raise KubeError(f"{verb} {path}: no answer: {why}") from error
        self._observe(verb, status)
        if status >= 400:
            raise _refusal(f"{verb} {path}", status, text, after)
        return _decoded(text)


def _path_of(resource: Resource, manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return resource.path(metadata.get("namespace"), metadata["name"])


def _decoded(text: bytes) -> Manifest:
    decoded: Any = msgspec.json.decode(text) if text else {}
    return decoded if isinstance(decoded, dict) else {}


def _refusal(what: str, status: int, text: bytes, after: str | None) -> KubeError:
    try:
        told = _decoded(text)
    except msgspec.DecodeError:
        told = {}
    message = told.get("message") or text[:200].decode(errors="replace")
    return error_for(
        status,
        f"{what}: {message}",
        reason=str(told.get("reason") or ""),
        retry_after=float(after) if after and after.isdigit() else None,
    )
