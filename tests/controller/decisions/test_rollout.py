"""Exchanging pods: surge where there is room, one at a time where the old ones hold it all."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from smart_embedder_operator.observed import Manifest

Write = Callable[..., Manifest]
GPU = {"hardware": {"profile": "nvidia"}}


def unplaced(
    world: Any, message: str = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
) -> Any:
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": world.now.isoformat(),
    }


def strategy(world: Any) -> Any:
    (deployment,) = world.deployments().values()
    return deployment["spec"]["strategy"]


def deadlock(world: Any, embedder: Write, **spec: Any) -> Manifest:
    """A second revision whose pod waits for the GPU that the first holds."""
    track = world.converge(embedder(**GPU, **spec)).plan.target
    edited = embedder(generation=2, serving={"queueSize": 9}, **GPU, **spec)
    world.step(edited)
    world.pod(track, "old", revision="a")
    world.pod(track, "new", revision="b", node=None, conditions=[unplaced(world)])
    return edited


def test_a_rollout_surges_where_nothing_says_otherwise(world: Any, embedder: Write) -> None:
    world.step(embedder())
    assert strategy(world)["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}


def test_a_full_gpu_pool_goes_one_down_first(world: Any, embedder: Write) -> None:
    edited = deadlock(world, embedder)
    world.now += timedelta(seconds=5)
    world.step(edited)
    assert strategy(world)["rollingUpdate"]["maxSurge"] == "25%"
    world.now += timedelta(seconds=16)
    world.step(edited)
    assert strategy(world)["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    progress = next(c for c in world.evaluate(edited)["conditions"] if c["type"] == "Progressing")
    assert progress["reason"] == "RollingInPlace"


def test_an_evicted_pod_holds_no_gpu(world: Any, embedder: Write) -> None:
    edited = deadlock(world, embedder)
    world.pods[0]["status"]["phase"] = "Failed"
    world.now += timedelta(seconds=16)
    world.step(edited)
    assert strategy(world)["rollingUpdate"]["maxSurge"] == "25%"


def test_it_stays_in_place_until_that_rollout_is_over(world: Any, embedder: Write) -> None:
    edited = deadlock(world, embedder)
    world.now += timedelta(seconds=16)
    world.step(edited)
    world.pods.clear()
    world.step(edited)
    assert strategy(world)["rollingUpdate"]["maxSurge"] == 0
    world.settle()
    world.step(edited)
    assert strategy(world)["rollingUpdate"]["maxSurge"] == "25%"


def test_a_node_that_is_coming_is_waited_for(world: Any, embedder: Write) -> None:
    edited = deadlock(world, embedder)
    world.event("Pod", "new", "TriggeredScaleUp", "pod triggered scale-up")
    world.now += timedelta(seconds=600)
    world.step(edited)
    assert strategy(world)["rollingUpdate"]["maxSurge"] == "25%"


@pytest.mark.parametrize(("asked", "kind"), [("Surge", "25%"), ("InPlace", 0), ("Recreate", None)])
def test_what_a_person_asks_for_is_done(world: Any, embedder: Write, asked: str, kind: Any) -> None:
    world.step(embedder(rollout={"strategy": asked}))
    assert strategy(world).get("rollingUpdate", {}).get("maxSurge") == kind


def test_a_volume_for_one_node_is_handed_over(world: Any, embedder: Write) -> None:
    world.step(embedder(cache={"type": "PVC"}))
    assert strategy(world)["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
