"""Whatever is edited, and in whatever order: the children end as the spec says, and rest there.

No node is needed: etcd and kube-apiserver on loopback, so the defaults that the API server fills in
and the fields that others own are real.
"""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.audit import AuditLog
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.loopback import ApiServer, api_server
from e2e.operator_process import operator_process
from smart_embedder_operator.render import crd
from smart_embedder_operator.spec import InvalidSpec, parse

OPERATOR = "operator"
CHILDREN = "deployments,services,configmaps,hpa,pdb,networkpolicies,serviceaccounts"
SPECS = yaml.safe_load(
    (Path(__file__).parents[1] / "tests/controller/decisions/specs.yaml").read_text()
)
# Other models are a migration and a volume never shrinks: there the way matters, not only the end.
HISTORY = {"models", "cache", "paused"}
FRAGMENTS = [one for one in SPECS["fragments"] if not HISTORY & one.keys()]
SPEC_EDITS = 6
HAND_EDITS = 5
BY_HAND: dict[str, list[dict[str, Any]]] = {
    "Deployment": [
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
        {"spec": {"template": {"spec": {"securityContext": {"runAsNonRoot": False}}}}},
    ],
    "Service": [{"spec": {"ports": [{"port": 81, "targetPort": 1}]}}, {"spec": {"selector": None}}],
    "ConfigMap": [{"data": {"EMBEDDING_MODEL": "another"}}, {"data": None}],
    "HorizontalPodAutoscaler": [{"spec": {"maxReplicas": 9}}],
    "PodDisruptionBudget": [{"spec": {"maxUnavailable": 0}}],
    "NetworkPolicy": [{"spec": {"ingress": []}}],
    "ServiceAccount": [{"automountServiceAccountToken": True}],
}
GIVEN_ANEW = ("clusterIP", "clusterIPs", "replicas")
"""What the API server or an autoscaler chooses: another one is no difference."""

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with api_server() as server:
        server.kubectl.define(crd())
        yield server


def embedder(dice: random.Random) -> Manifest:
    """A valid one out of what people write, drawn until it is."""
    while True:
        spec: Manifest = {"models": {"embedding": "BAAI/bge-m3"}}
        for fragment in dice.sample(FRAGMENTS, dice.randrange(5)):
            spec |= fragment
        manifest = {
            "apiVersion": "smart-embedder.io/v1alpha1",
            "kind": "Embedder",
            "metadata": {"name": "search", "namespace": "default"},
            "spec": spec,
        }
        try:
            parse(manifest)
        except InvalidSpec:
            continue
        return manifest


def edit_a_child(kubectl: Kubectl, dice: random.Random) -> None:
    """Somebody changes or deletes what is ours."""
    child = dice.choice(children(kubectl))
    kind, name = child["kind"], child["metadata"]["name"]
    edits = BY_HAND[kind]
    if (which := dice.randrange(len(edits) + 1)) == len(edits):
        kubectl("delete", kind, name)
    else:
        kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(edits[which]))


def children(kubectl: Kubectl) -> list[Manifest]:
    found: list[Manifest] = kubectl.get(CHILDREN, "-l", "smart-embedder.io/embedder=search")[
        "items"
    ]
    return found


def state(kubectl: Kubectl) -> dict[str, Manifest]:
    """The children without what changes with every write."""
    return {f"{one['kind']}/{one['metadata']['name']}": bare(one) for one in children(kubectl)}


def bare(child: Manifest) -> Manifest:
    metadata = child["metadata"]
    kept = {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences")}
    content = {key: child[key] for key in child.keys() - {"metadata", "status", "spec"}}
    spec = child.get("spec", {})
    content["spec"] = {key: spec[key] for key in spec.keys() - set(GIVEN_ANEW)}
    for port in content["spec"].get("ports", []):
        port.pop("nodePort", None)
    return content | kept


def settled(audit: AuditLog) -> None:
    """Wait until the operator has had its say and then been silent."""
    started = time.time()
    until(
        lambda: time.time() - started > 2 and not audit.writes(OPERATOR, time.time() - 4),
        "silence",
        seconds=90,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_edits_of_the_spec_and_of_the_children_converge_to_what_the_spec_says(
    server: ApiServer, seed: int
) -> None:
    dice = random.Random(seed)
    place, audit = server.kubectl.inside("default"), AuditLog(server.audit_log)
    first = embedder(dice)
    with operator_process(server.kubeconfig_for(OPERATOR, "system:masters")):
        place.apply(first)
        until(lambda: len(children(place)) > 4, "children")
        settled(audit)
        at_first = state(place)
        for _ in range(SPEC_EDITS):
            place.apply(embedder(dice))
            settled(audit)
            before = state(place)
            for _ in range(HAND_EDITS):
                edit_a_child(place, dice)
            settled(audit)
            assert state(place) == before
        place.apply(first)
        settled(audit)
        assert state(place) == at_first
    restarted = time.time()
    with operator_process(server.kubeconfig_for(OPERATOR, "system:masters")) as operator:
        until(lambda: operator.metric("controller_runtime_reconcile_total") >= 1, "a look")
        time.sleep(5)
    assert audit.writes(OPERATOR, restarted) == []
    place("delete", "embedder", "search", "--wait=false")
    place("delete", CHILDREN, "-l", "smart-embedder.io/embedder=search")
