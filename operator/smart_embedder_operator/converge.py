"""Makes what is into what shall be: applies what differs, prunes what is no longer wanted.

A steady state costs no write. An object of somebody else's that stands in the way is left alone
and reported. What shall be is decided elsewhere.
"""

import structlog

from smart_embedder_operator import kinds
from smart_embedder_operator.drift import APPLIED, differs, stamped
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.kube import Invalid, Kube, KubeError, Manifest, NotFound, Resource
from smart_embedder_operator.labels import EMBEDDER, MANAGED_BY, MANAGER, REPLICAS_MANAGER
from smart_embedder_operator.observed import Observed, Refusal

log = structlog.get_logger()

Place = tuple[str, str, str]  # kind, namespace, name


class Converger:
    """Writes to the cluster for one Embedder after another."""

    def __init__(self, kube: Kube, heartbeat: Heartbeat) -> None:
        self._kube = kube
        self._heartbeat = heartbeat
        # Versions that an apply did not change although they looked different to us: without
        # this a spelling that `drift` does not know would be applied again at every look.
        self._settled: dict[Place, tuple[str, str]] = {}

    async def converge(
        self,
        desired: tuple[Manifest, ...],
        replicas: dict[str, int],
        observed: Observed,
        uid: str,
        *,
        patient: bool,
    ) -> tuple[Refusal, ...]:
        """Bring the children in line; answer with what the API server would not take.

        With patience a failure that may pass ends the step with its error; without, it is one of
        the answers and keeps no other child back.
        """
        live = {_place(obj): obj for obj in observed.objects}
        wanted = {_place(obj) for obj in desired}
        unwanted = [
            obj
            for place, obj in live.items()
            if place not in wanted and _is_prunable(obj) and _owner_uid(obj) == uid
        ]
        scalers = [obj for obj in unwanted if obj["kind"] in kinds.SCALERS]
        refusals = [await self._prune(obj, patient=patient) for obj in scalers]
        if any(refusals):  # of two autoscalers each would undo what the other does
            return tuple(filter(None, refusals))
        for obj in desired:
            said = {} if _is_held(refusals) else replicas
            refusals.append(await self._keep(obj, live, said, uid, patient=patient))
        if not _is_held(refusals):
            rest = [obj for obj in unwanted if obj not in scalers]
            refusals += [await self._prune(obj, patient=patient) for obj in rest]
        return tuple(filter(None, refusals))

    async def _keep(
        self,
        manifest: Manifest,
        live: dict[Place, Manifest],
        replicas: dict[str, int],
        uid: str,
        *,
        patient: bool,
    ) -> Refusal | None:
        try:
            there = live.get(_place(manifest)) or await self._unlabelled(manifest)
            if there is not None and not _is_ours(there, manifest, uid):
                return _refusal(manifest, 409, "exists already and belongs to somebody else")
            kept = await self._apply(manifest, there)
            if manifest["kind"] == kinds.DEPLOYMENTS.kind:
                await self._set_replicas(kept, replicas.get(manifest["metadata"]["name"]))
        except KubeError as error:
            if error.retryable and patient:
                raise
            return _refusal(manifest, error.status or 0, str(error))
        return None

    async def _unlabelled(self, manifest: Manifest) -> Manifest | None:
        """An object of that name that our selector did not find; never overwrite a stranger's."""
        metadata = manifest["metadata"]
        try:
            return await self._kube.get(
                kinds.resource_of(manifest), metadata["name"], metadata["namespace"]
            )
        except NotFound:
            return None

    async def _apply(self, manifest: Manifest, there: Manifest | None) -> Manifest:
        wanted = stamped(manifest)
        if there is not None:
            if "deletionTimestamp" in there["metadata"]:
                return there
            if not differs(wanted, there) and not any(map(_is_merges, _owners(there))):
                return there
            if self._settled.get(_place(manifest)) == _versions(wanted, there):
                return there
        resource = kinds.resource_of(manifest)
        began = self._heartbeat.now()
        kept = await self._written(resource, wanted, there)
        if there is not None and _version(kept) == _version(there):
            self._settled[_place(manifest)] = _versions(wanted, there)
            return kept
        self._heartbeat.changed(resource, manifest["metadata"]["namespace"], began)
        log.info(
            "created" if there is None else "changed",
            kind=manifest["kind"],
            name=manifest["metadata"]["name"],
            namespace=manifest["metadata"]["namespace"],
        )
        return kept

    async def _written(
        self, resource: Resource, wanted: Manifest, there: Manifest | None
    ) -> Manifest:
        try:
            kept = await self._kube.apply(resource, wanted)
        except Invalid:
            if there is None:
                raise
            # An apply leaves what somebody put into a list beside our entries, and a second port
            # without a name makes a Service invalid at every try: our lists replace theirs.
            await self._kube.merge(resource, wanted)
            kept = await self._kube.apply(resource, wanted)
        owners = [owner for owner in _owners(kept) if not _is_merges(owner)]
        if len(owners) == len(_owners(kept)):
            return kept
        # What the merge owns beside the apply would stay when the apply drops it.
        metadata = {key: kept["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
        return await self._kube.merge(resource, {"metadata": metadata | {"managedFields": owners}})

    async def _set_replicas(self, deployment: Manifest, number: int | None) -> None:
        """Say the number of pods as a manager of its own, so that to stop saying it resets nothing.

        A field that its last manager drops falls back to its default, and one pod is left. This
        manager never drops it: it only falls silent, and an autoscaler takes over from there.
        """
        if number is None or deployment["spec"].get("replicas") == number:
            return
        metadata = deployment["metadata"]
        alone: Manifest = {
            "apiVersion": kinds.DEPLOYMENTS.api_version,
            "kind": kinds.DEPLOYMENTS.kind,
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "spec": {"replicas": number},
        }
        began = self._heartbeat.now()
        await self._kube.apply(kinds.DEPLOYMENTS, alone, manager=REPLICAS_MANAGER)
        self._heartbeat.changed(kinds.DEPLOYMENTS, metadata["namespace"], began)
        log.info("scaled", name=metadata["name"], namespace=metadata["namespace"], replicas=number)

    async def _prune(self, obj: Manifest, *, patient: bool) -> Refusal | None:
        metadata = obj["metadata"]
        if "deletionTimestamp" in metadata:
            return None
        try:
            await self._kube.delete(
                kinds.resource_of(obj), metadata["name"], metadata["namespace"], uid=metadata["uid"]
            )
        except NotFound:
            return None
        except KubeError as error:
            if error.retryable and patient:
                raise
            return _refusal(obj, error.status or 0, str(error))
        self._settled.pop(_place(obj), None)
        log.info(
            "deleted",
            kind=obj["kind"],
            name=metadata["name"],
            namespace=metadata["namespace"],
        )
        return None


def _is_held(refusals: list[Refusal | None]) -> bool:
    """Whether the Service may still select a track that shall go: its pods stay for so long."""
    return any(refusal and refusal.kind == kinds.SERVICES.kind for refusal in refusals)


def _place(obj: Manifest) -> Place:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def _version(obj: Manifest) -> str:
    return str(obj["metadata"].get("resourceVersion"))


def _owners(obj: Manifest) -> list[Manifest]:
    return obj["metadata"].get("managedFields") or []


def _is_merges(owner: Manifest) -> bool:
    """Whether fields are ours by a merge, which is an update to the API server, and no apply."""
    ours = owner["manager"] == MANAGER and "subresource" not in owner
    return ours and owner["operation"] == "Update"


def _versions(wanted: Manifest, there: Manifest) -> tuple[str, str]:
    return wanted["metadata"]["annotations"][APPLIED], _version(there)


def _is_prunable(obj: Manifest) -> bool:
    return obj["kind"] not in {kinds.PODS.kind, kinds.REPLICA_SETS.kind}


def _owner_uid(obj: Manifest) -> str | None:
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def _is_ours(there: Manifest, wanted: Manifest, uid: str) -> bool:
    """Owned by this Embedder, or owned by nobody and labelled as this Embedder's."""
    owner = _owner_uid(there)
    if owner is not None:
        return owner == uid
    labels = there["metadata"].get("labels") or {}
    ours = wanted["metadata"]["labels"]
    return labels.get(MANAGED_BY) == MANAGER and labels.get(EMBEDDER) == ours[EMBEDDER]


def _refusal(manifest: Manifest, code: int, message: str) -> Refusal:
    name = manifest["metadata"]["name"]
    return Refusal(kind=manifest["kind"], name=name, code=code, message=message)
