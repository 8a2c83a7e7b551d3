"""What the operator keeps for itself hangs on its own Deployment, so that an uninstall takes it.

Helm knows nothing of the Lease and the Secret, which come at run time; the garbage collector does.
"""

from smart_embedder_operator import kinds
from smart_embedder_operator.kube import Forbidden, Kube, Manifest, NotFound


async def new_metadata(kube: Kube, name: str, namespace: str, deployment: str | None) -> Manifest:
    """Metadata of an object of ours; `deployment` is ours too, None where we run outside of one."""
    metadata: Manifest = {"name": name, "namespace": namespace}
    if deployment is None:
        return metadata
    try:
        owner = await kube.get(kinds.DEPLOYMENTS, deployment, namespace)
    except (Forbidden, NotFound):
        return metadata  # tidiness is no reason not to work
    reference = {
        "apiVersion": kinds.DEPLOYMENTS.api_version,
        "kind": kinds.DEPLOYMENTS.kind,
        "name": deployment,
        "uid": owner["metadata"]["uid"],
    }
    return metadata | {"ownerReferences": [reference]}
