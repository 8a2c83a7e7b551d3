"""An API server in memory: what the operator's tests write to and read from.

It keeps objects with resource versions and generations, merges server-side applies by field
manager as far as this project needs it, collects the children of what is deleted, tells
watchers, and fails when a test says so.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from copy import deepcopy
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from smart_embedder_operator.kube import (
    Conflict,
    KubeError,
    Manifest,
    NotFound,
    Resource,
)
from smart_embedder_operator.labels import MANAGER
from smart_embedder_operator.metrics_api.certificates import new_certificate

Path = tuple[str, ...]
Key = tuple[str, str, str | None, str]  # group, plural, namespace, name
Owner = tuple[str, str]  # manager, operation
Watcher = Callable[[str, Resource, Manifest], None]


class FakeKube:
    """`Kube` on a dict."""

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.owned: dict[Key, dict[Owner, set[Path]]] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.reads: list[tuple[str, str]] = []
        self.faults: deque[KubeError | None] = deque()
        self.refuse: Callable[[str, Resource, str], KubeError | None] = lambda *_: None
        self.watchers: list[Watcher] = []
        self.groups: dict[tuple[str, str], frozenset[str]] = {}
        self._versions = count(1)
        self._uids = count(1)

    # What the operator calls.

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Manifest:
        self._fail("get", resource, name)
        self.reads.append(("get", resource.kind))
        return deepcopy(self._found(resource, name, namespace))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> list[Manifest]:
        self._fail("list", resource, "")
        self.reads.append(("list", resource.kind))
        return [
            deepcopy(obj)
            for (group, plural, place, _), obj in sorted(self.objects.items(), key=str)
            if (group, plural) == (resource.group, resource.plural)
            and namespace in {None, place}
            and _selected(obj["metadata"].get("labels", {}), labels)
            and _selected(_field_values(obj), fields)
        ]

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        name = manifest["metadata"].get("name") or f"generated-{next(self._uids)}"
        self._fail("create", resource, name)
        key = _key(resource, manifest | {"metadata": manifest["metadata"] | {"name": name}})
        if key in self.objects:
            raise Conflict(f"{resource.kind} {name} exists", status=409, reason="AlreadyExists")
        self.writes.append(("create", resource.kind, name))
        return self._born(resource, key, deepcopy(manifest), (MANAGER, "Update"))

    async def apply(
        self, resource: Resource, manifest: Manifest, *, manager: str = MANAGER
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        self._fail("apply", resource, name)
        self.writes.append(("apply", resource.kind, name))
        key = _key(resource, manifest)
        owner = manager, "Apply"
        if key not in self.objects:
            return self._born(resource, key, deepcopy(manifest), owner)
        live = _flat(_bare(self.objects[key]))
        wanted = _flat(_bare(manifest))
        owned = self.owned[key]
        others = set().union(*(paths for who, paths in owned.items() if who != owner))
        for dropped in owned.get(owner, set()) - set(wanted) - others:
            live.pop(dropped, None)
        for path, value in wanted.items():
            if live.get(path) != value:
                for who in owned:
                    owned[who].discard(path)
            for length in range(len(path)):
                live.pop(path[:length], None)  # an empty map that is being filled
            live[path] = value
        owned[owner] = set(wanted)
        return self._stored(resource, key, _nested(live))

    async def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        self._fail("replace", resource, name)
        live = self._found(resource, name, manifest["metadata"].get("namespace"))
        if manifest["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
            raise Conflict(f"{resource.kind} {name} has changed", status=409, reason="Conflict")
        self.writes.append(("replace", resource.kind, name))
        key = _key(resource, manifest)
        return self._updated(resource, key, _bare(manifest), MANAGER)

    async def merge(self, resource: Resource, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        self._fail("merge", resource, name)
        live = self._found(resource, name, manifest["metadata"].get("namespace"))
        self.writes.append(("merge", resource.kind, name))
        key = _key(resource, manifest)
        if (kept := manifest["metadata"].get("managedFields")) is not None:
            owners = {(each["manager"], each["operation"]) for each in kept}
            self.owned[key] = {who: self.owned[key][who] for who in owners}
        return self._updated(resource, key, _bare(_merged(live, manifest)), MANAGER)

    async def merge_status(
        self, resource: Resource, name: str, namespace: str, status: Manifest
    ) -> Manifest:
        self._fail("status", resource, name)
        live = self._found(resource, name, namespace)
        self.writes.append(("status", resource.kind, name))
        merged = deepcopy(live)
        merged["status"] = _merged(live.get("status", {}), status)
        return self._stored(resource, _key(resource, live), _bare(merged))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
    ) -> None:
        self._fail("delete", resource, name)
        live = self._found(resource, name, namespace)
        if uid is not None and uid != live["metadata"]["uid"]:
            raise Conflict(f"{resource.kind} {name} has another uid", status=409)
        self.writes.append(("delete", resource.kind, name))
        self.remove(resource, name, namespace)

    async def kinds(self, group: str, version: str) -> frozenset[str]:
        return self.groups.get((group, version), frozenset())

    # What the rest of the world does, told by a test.

    def put(self, resource: Resource, manifest: Manifest, manager: str = "kubectl") -> Manifest:
        """Create or overwrite an object as another client would."""
        key = _key(resource, manifest)
        if key not in self.objects:
            return self._born(resource, key, deepcopy(manifest), (manager, "Update"))
        kept = {"status": self.objects[key].get("status")} if "status" in self.objects[key] else {}
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        return self._updated(resource, key, head | kept | deepcopy(_bare(manifest)), manager)

    def edit(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        change: Callable[[Manifest], object],
        manager: str = "kubectl",
    ) -> Manifest:
        """Change an object in place as another client would."""
        obj = deepcopy(self._found(resource, name, namespace))
        change(obj)
        return self._updated(resource, _key(resource, obj), _bare(obj), manager)

    def remove(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        """Delete an object and everything it owns."""
        gone = self.objects.pop((resource.group, resource.plural, namespace, name))
        self.owned.pop((resource.group, resource.plural, namespace, name))
        self._tell("DELETED", resource, gone)
        uid = gone["metadata"]["uid"]
        for child in list(self.objects.values()):
            if any(ref["uid"] == uid for ref in child["metadata"].get("ownerReferences", [])):
                kind = _resource_of(child)
                self.remove(kind, child["metadata"]["name"], child["metadata"].get("namespace"))

    def find(self, resource: Resource, name: str, namespace: str | None = None) -> Manifest | None:
        """The object as it is, or None."""
        return self.objects.get((resource.group, resource.plural, namespace, name))

    # How it is kept.

    def _fail(self, verb: str, resource: Resource, name: str) -> None:
        if self.faults and (fault := self.faults.popleft()) is not None:
            raise fault
        if refusal := self.refuse(verb, resource, name):
            raise refusal

    def _found(self, resource: Resource, name: str, namespace: str | None) -> Manifest:
        found = self.find(resource, name, namespace)
        if found is None:
            raise NotFound(f"{resource.kind} {name} not found", status=404, reason="NotFound")
        return found

    def _born(self, resource: Resource, key: Key, manifest: Manifest, owner: Owner) -> Manifest:
        self.owned[key] = {owner: set(_flat(_bare(manifest)))}
        manifest["metadata"] = manifest["metadata"] | {
            "name": key[3],
            "uid": f"uid-{next(self._uids)}",
            "creationTimestamp": "2026-11-20T00:00:00Z",
        }
        manifest |= {"apiVersion": resource.api_version, "kind": resource.kind}
        return self._stored(resource, key, manifest)

    def _updated(self, resource: Resource, key: Key, manifest: Manifest, manager: str) -> Manifest:
        """An update takes every field it changes from the other managers."""
        before, after = _flat(_bare(self.objects[key])), _flat(manifest)
        changed = {path for path, value in after.items() if before.get(path) != value}
        gone = set(before) - set(after)
        for paths in self.owned[key].values():
            paths.difference_update(changed | gone)
        self.owned[key].setdefault((manager, "Update"), set()).update(changed)
        return self._stored(resource, key, manifest)

    def _stored(self, resource: Resource, key: Key, manifest: Manifest) -> Manifest:
        before = self.objects.get(key)
        if resource.kind == "Deployment":
            manifest.setdefault("spec", {}).setdefault("replicas", 1)
        fields = [
            {"manager": manager, "operation": operation, "fieldsV1": _fields_v1(paths)}
            for (manager, operation), paths in self.owned[key].items()
            if paths
        ]
        if before is not None and _bare(before) == _bare(manifest):
            before["metadata"]["managedFields"] = fields
            return deepcopy(before)
        kept = (before or manifest)["metadata"]
        generation = kept.get("generation", 1)
        if before is not None and before.get("spec") != manifest.get("spec"):
            generation += 1
        manifest["metadata"] = manifest["metadata"] | {
            "uid": kept["uid"],
            "creationTimestamp": kept["creationTimestamp"],
            "generation": generation,
            "resourceVersion": str(next(self._versions)),
            "managedFields": fields,
        }
        self.objects[key] = manifest
        self._tell("MODIFIED" if before else "ADDED", resource, manifest)
        return deepcopy(manifest)

    def _tell(self, event: str, resource: Resource, obj: Manifest) -> None:
        for watcher in self.watchers:
            watcher(event, resource, deepcopy(obj))


_SERVER_FIELDS = ("uid", "resourceVersion", "generation", "managedFields", "creationTimestamp")


def _bare(obj: Manifest) -> Manifest:
    """The object without what the server alone writes."""
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k not in _SERVER_FIELDS}
    return obj | {"metadata": metadata}


def _key(resource: Resource, manifest: Manifest) -> Key:
    metadata = manifest["metadata"]
    return resource.group, resource.plural, metadata.get("namespace"), metadata["name"]


def _resource_of(obj: Manifest) -> Resource:
    group, _, version = obj["apiVersion"].rpartition("/")
    irregular = {"NetworkPolicy": "networkpolicies"}
    plural = irregular.get(obj["kind"], obj["kind"].lower() + "s")
    return Resource(group, version, plural, obj["kind"])


def _flat(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every leaf by its path; lists of named entries are merged by name, as the server does."""
    if isinstance(value, dict) and value:
        steps = [(key, item) for key, item in value.items() if item is not None]
    elif isinstance(value, list) and value and all(_name_of(item) for item in value):
        steps = [(f"[{_name_of(item)}]", item) for item in value]
    else:
        return {path: value}
    return {leaf: found for key, item in steps for leaf, found in _flat(item, (*path, key)).items()}


def _name_of(item: Any) -> str | None:
    return item.get("name") if isinstance(item, dict) else None


def _nested(leaves: dict[Path, Any]) -> Any:
    if () in leaves:
        return deepcopy(leaves[()])
    steps: dict[str, dict[Path, Any]] = {}
    for path, value in leaves.items():
        steps.setdefault(path[0], {})[path[1:]] = value
    if steps and all(step.startswith("[") for step in steps):
        return [_nested(below) for below in steps.values()]
    return {step: _nested(below) for step, below in steps.items()}


def _fields_v1(paths: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for step in path:
            node = node.setdefault(f"f:{step}", {})
    return tree


def _merged(live: Any, patch: Any) -> Any:
    """JSON merge patch."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _selected(values: dict[str, str], selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        name, equals, wanted = term.partition("=")
        if name not in values or (equals and values[name] != wanted):
            return False
    return True


def _field_values(obj: Manifest) -> dict[str, str]:
    involved = obj.get("involvedObject", {})
    return {
        "metadata.name": obj["metadata"]["name"],
        **{f"involvedObject.{key}": str(value) for key, value in involved.items()},
    }


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for what another task does and tells nobody."""

    async def wait(true: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def unused_ports() -> Callable[[int], list[int]]:
    def find(count: int) -> list[int]:
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(count)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return [int(each.getsockname()[1]) for each in sockets]

    return find


@pytest.fixture
def unused_port(unused_ports: Callable[[int], list[int]]) -> int:
    return unused_ports(1)[0]


@pytest.fixture(scope="session")
def authority_pem() -> str:
    """A certificate authority that signs nothing."""
    return new_certificate(("nobody",), datetime.now(UTC)).authorities


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture(scope="session")
def make_kube() -> Callable[[], FakeKube]:
    """For properties, where every example wants an API server of its own."""
    return FakeKube
