"""The seam between the operator and Kubernetes: what we ask of an API server, and its errors.

Manifests are plain dicts, as they come over the wire. `kube_client` is the real thing, the
tests have an API server of their own in memory. Nothing here knows what an Embedder is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from smart_embedder_operator.labels import MANAGER

Manifest = dict[str, Any]
"""One Kubernetes object, or a part of one, as JSON."""


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The manifest's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(
            part for part in (f"{root}{place}/{self.plural}", name, subresource) if part
        )


class KubeError(Exception):
    """The API server refused, failed, or could not be reached."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same request can succeed later without anybody mending anything."""
        return self.status is None or self.status in {408, 409, 429} or self.status >= 500


class NotFound(KubeError):
    """No such object, or no such kind."""


class Conflict(KubeError):
    """Somebody else changed or created the object first."""


class Forbidden(KubeError):
    """RBAC, a quota or an admission policy says no."""


class Invalid(KubeError):
    """The object does not pass the API server's validation."""


def error_for(
    status: int, message: str, *, reason: str = "", retry_after: float | None = None
) -> KubeError:
    """The error class that belongs to an HTTP status."""
    by_status: Mapping[int, type[KubeError]] = {
        400: Invalid,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        422: Invalid,
    }
    cls = by_status.get(status, KubeError)
    return cls(message, status=status, reason=reason, retry_after=retry_after)


class Kube(Protocol):
    """What the operator asks of an API server; every call may raise `KubeError`."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Manifest:
        """Read one object; `NotFound` when there is none."""
        ...

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> list[Manifest]:
        """Read all objects of a kind that match the selectors, complete with kind and version."""
        ...

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Create an object; `Conflict` when it exists."""
        ...

    async def apply(
        self, resource: Resource, manifest: Manifest, *, manager: str = MANAGER
    ) -> Manifest:
        """Server-side apply by force: the fields named here are ours, the others stay."""
        ...

    async def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Write a whole object back; `Conflict` when its resourceVersion is not the latest."""
        ...

    async def merge(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Merge-patch the fields named here; a list replaces the whole of what was there."""
        ...

    async def merge_status(
        self, resource: Resource, name: str, namespace: str, status: Manifest
    ) -> Manifest:
        """Merge-patch the status alone; None removes a field."""
        ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
    ) -> None:
        """Delete an object and, in the background, what it owns; `uid` guards its successor."""
        ...

    async def kinds(self, group: str, version: str) -> frozenset[str]:
        """The kinds an API group serves; empty when the group is not there."""
        ...
