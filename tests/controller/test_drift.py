"""Drift: a field of ours with another value, and nothing else."""

import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smart_embedder_operator.drift import APPLIED, differs, stamped

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "search", "labels": {"a": "b"}},
    "spec": {
        "template": {
            "spec": {
                "automountServiceAccountToken": False,
                "volumes": [{"name": "models", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "serve",
                        "args": ["serve", "--host", "::"],
                        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
                        "resources": {"limits": {"memory": "1024Mi", "cpu": "1000m"}},
                    }
                ],
            }
        }
    },
}


def live() -> dict[str, Any]:
    """As the API server gives it back: defaults added, quantities respelt, strangers' fields."""
    obj = copy.deepcopy(stamped(DEPLOYMENT))
    obj["metadata"] |= {"uid": "1", "resourceVersion": "7", "generation": 1}
    obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    obj["spec"]["replicas"] = 3
    pod = obj["spec"]["template"]["spec"]
    pod["restartPolicy"] = "Always"
    container = pod["containers"][0]
    container["imagePullPolicy"] = "IfNotPresent"
    container["resources"]["limits"] = {"memory": "1Gi", "cpu": "1"}
    container["env"][1].pop("value")
    pod["containers"].insert(0, {"name": "sidecar", "image": "mesh"})
    obj["status"] = {"readyReplicas": 3}
    return obj


def test_defaults_other_spellings_and_strangers_fields_are_not_drift() -> None:
    assert not differs(stamped(DEPLOYMENT), live())


def serve(obj: dict[str, Any]) -> Any:
    return obj["spec"]["template"]["spec"]["containers"][1]


@pytest.mark.parametrize(
    "edit",
    [
        lambda obj: obj["metadata"]["labels"].update(a="c"),
        lambda obj: obj["metadata"].pop("labels"),
        lambda obj: obj["metadata"]["annotations"].pop(APPLIED),
        lambda obj: obj["spec"]["template"]["spec"].update(automountServiceAccountToken=True),
        lambda obj: obj["spec"]["template"]["spec"].update(volumes=[]),
        lambda obj: serve(obj)["args"].append("--debug"),
        lambda obj: serve(obj)["args"].pop(),
        lambda obj: serve(obj)["env"].pop(0),
        lambda obj: serve(obj)["env"][0].update(value="2"),
        lambda obj: serve(obj)["env"][1].update(value="set"),
        lambda obj: serve(obj)["resources"]["limits"].update(memory="2Gi"),
        lambda obj: obj["spec"]["template"]["spec"]["containers"].pop(1),
    ],
)
def test_an_edit_of_a_field_of_ours_is_drift(edit: Any) -> None:
    edited = live()
    edit(edited)
    assert differs(stamped(DEPLOYMENT), edited)


def test_a_field_no_longer_wanted_is_drift_although_the_rest_is_equal() -> None:
    fewer = copy.deepcopy(DEPLOYMENT)
    del fewer["spec"]["template"]["spec"]["containers"][0]["args"]
    assert differs(stamped(fewer), live())


def test_the_stamp_is_the_same_for_equal_manifests_in_any_order() -> None:
    turned = {key: DEPLOYMENT[key] for key in reversed(DEPLOYMENT)}
    assert stamped(turned) == stamped(DEPLOYMENT)


def test_stamping_leaves_the_manifest_as_it_was() -> None:
    before = copy.deepcopy(DEPLOYMENT)
    stamped(DEPLOYMENT)
    assert before == DEPLOYMENT


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("1000m", "1", True),
        ("1Gi", "1073741824", True),
        ("0.5", "500m", True),
        ("1.2.3", "1.2.4", False),
        ("v1", "v2", False),
        ("1k", "1Ki", False),
    ],
)
def test_quantities_are_compared_by_what_they_mean(wanted: str, found: str, *, same: bool) -> None:
    assert differs({"spec": wanted}, {"spec": found}) is not same


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "env"]), inner),
    max_leaves=10,
)


@given(spec=st.dictionaries(st.sampled_from(["a", "volumes"]), JSON))
@example(spec={"volumes": [{"a": [None]}, {}]})
def test_nothing_differs_from_itself(spec: dict[str, Any]) -> None:
    wanted = stamped({"metadata": {"name": "a"}, "spec": spec})
    assert not differs(wanted, copy.deepcopy(wanted))
