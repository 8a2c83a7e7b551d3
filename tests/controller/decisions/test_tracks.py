"""Tracks: a change of vectors is a migration, everything else a rolling update."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_embedder_operator import recipes
from smart_embedder_operator.observed import Manifest, PodReport
from smart_embedder_operator.profiles import Profile

Write = Callable[..., Manifest]
M3 = {"embedding": "BAAI/bge-m3"}
QWEN = {"embedding": "BAAI/bge-m3", "dense": "Qwen/Qwen3-Embedding-0.6B"}
MANUAL = {"promotion": "Manual"}
INT8 = M3 | {"dtype": "int8"}
AT_ONCE = {"imagePolicy": "OnUpgrade"}
COMMIT = "5617a9f61b028005a4858fdac845db406aefb181"


def template(world: Any, track: str) -> Manifest:
    spec: Manifest = world.child("Deployment", f"search-{track}")["spec"]["template"]
    return spec


def test_the_first_track_serves_from_the_start(world: Any, embedder: Write) -> None:
    plan = world.step(embedder()).plan
    assert world.serving() == plan.target
    assert list(world.deployments()) == [f"search-{plan.target}"]


@pytest.mark.parametrize(
    "edit",
    [
        {"serving": {"maxBatchTokens": 4096}},
        {"models": M3 | {"reranker": "BAAI/bge-reranker-v2-m3"}},
        {"env": [{"name": "LOG_LEVEL", "value": "DEBUG"}]},
    ],
)
def test_an_edit_that_keeps_the_vectors_rolls_within_the_track(
    world: Any, embedder: Write, edit: dict[str, Any]
) -> None:
    world.converge(embedder())
    before = world.serving(), template(world, world.serving())
    world.step(embedder(generation=2, **edit))
    assert world.serving() == before[0]
    assert len(world.deployments()) == 1
    assert template(world, world.serving()) != before[1]


@pytest.mark.parametrize(
    "edit",
    [
        {"models": QWEN},
        {"models": {"embedding": "BAAI/bge-m3@v2"}},
        {"models": M3 | {"maxLength": 512}},
        {"models": M3 | {"pooling": "mean"}},
        {"models": M3 | {"dtype": "bfloat16"}},
        {"models": M3 | {"engine": "flagembedding"}},
        {"hardware": {"profile": "nvidia"}},  # bfloat16 there, float32 here
    ],
)
def test_an_edit_of_the_vectors_builds_a_second_track(
    world: Any, embedder: Write, edit: dict[str, Any]
) -> None:
    world.converge(embedder())
    old = world.serving()
    plan = world.step(embedder(generation=2, **edit)).plan
    assert world.serving() == old
    assert set(world.deployments()) == {f"search-{old}", f"search-{plan.target}"}
    assert plan.target != old


def test_hardware_may_change_when_the_dtype_is_written(world: Any, embedder: Write) -> None:
    world.converge(embedder(models=M3 | {"dtype": "float32"}))
    plan = world.step(
        embedder(generation=2, models=M3 | {"dtype": "float32"}, hardware={"profile": "nvidia"})
    ).plan
    assert len(plan.tracks) == 1


def test_the_service_moves_when_the_new_track_is_ready_and_the_old_one_goes(
    world: Any, embedder: Write
) -> None:
    world.converge(embedder())
    old = world.serving()
    edited = embedder(generation=2, models=QWEN)
    target = world.step(edited).plan.target
    assert world.serving() == old
    world.settle()
    plan = world.step(edited).plan
    assert world.serving() == target
    assert plan.flipped_from == old
    assert list(world.deployments()) == [f"search-{target}"]


def test_the_service_is_applied_before_the_old_track_can_be_pruned(
    world: Any, embedder: Write
) -> None:
    kinds = [item["kind"] for item in world.step(embedder()).objects]
    assert kinds.index("Service") < kinds.index("Deployment")


def test_the_next_track_has_as_many_pods_as_serve_now(world: Any, embedder: Write) -> None:
    scaled = {"mode": "HPA", "maxReplicas": 8}
    world.converge(embedder(autoscaling=scaled))
    world.child("Deployment", f"search-{world.serving()}")["spec"]["replicas"] = 5
    decision = world.step(embedder(generation=2, models=QWEN, autoscaling=scaled))
    assert decision.replicas == {f"search-{decision.plan.target}": 5}
    world.settle()
    decision = world.step(embedder(generation=2, models=QWEN, autoscaling=scaled))
    assert decision.replicas == {}
    hpa = world.child("HorizontalPodAutoscaler", "search")
    assert hpa["spec"]["scaleTargetRef"]["name"] == f"search-{decision.plan.target}"


def test_a_track_that_waits_for_promotion_follows_the_serving_number_both_ways(
    world: Any, embedder: Write
) -> None:
    scaled = {"autoscaling": {"mode": "HPA", "maxReplicas": 8}, "models": QWEN}
    world.converge(embedder(autoscaling=scaled["autoscaling"]))
    old = world.serving()
    waiting = embedder(generation=2, rollout=MANUAL, **scaled)
    new = world.converge(waiting).plan.target
    for number in (6, 2):
        world.child("Deployment", f"search-{old}")["spec"]["replicas"] = number
        world.converge(waiting)
        assert world.child("Deployment", f"search-{new}")["spec"]["replicas"] == number
    promoted = embedder(generation=3, rollout=MANUAL | {"promote": new}, **scaled)
    assert world.step(promoted).replicas == {f"search-{old}": 0}
    assert world.serving() == new
    assert world.child("Deployment", f"search-{new}")["spec"]["replicas"] == 2


def test_manual_waits_shows_both_and_promotes_on_demand(world: Any, embedder: Write) -> None:
    world.converge(embedder(rollout=MANUAL))
    old = world.serving()
    waiting = world.converge(embedder(generation=2, models=QWEN, rollout=MANUAL))
    new = waiting.plan.target
    assert world.serving() == old
    assert waiting.plan.waiting == "ForPromotion"
    for track in (old, new):
        preview = world.child("Service", f"search-{track}-preview")
        assert preview["spec"]["selector"]["smart-embedder.io/track"] == track
    world.step(embedder(generation=3, models=QWEN, rollout=MANUAL | {"promote": new}))
    assert world.serving() == new


def test_manual_promotes_only_what_is_ready(world: Any, embedder: Write) -> None:
    world.converge(embedder(rollout=MANUAL))
    old = world.serving()
    new = world.step(embedder(generation=2, models=QWEN, rollout=MANUAL)).plan.target
    world.step(embedder(generation=3, models=QWEN, rollout=MANUAL | {"promote": new}))
    assert world.serving() == old


def test_after_promotion_the_old_track_stands_by_without_pods_and_can_come_back(
    world: Any, embedder: Write
) -> None:
    world.converge(embedder(rollout=MANUAL))
    old = world.serving()
    new = world.converge(embedder(generation=2, models=QWEN, rollout=MANUAL)).plan.target
    promoted = embedder(generation=3, models=QWEN, rollout=MANUAL | {"promote": new})
    assert world.converge(promoted).replicas == {f"search-{old}": 0}
    back = embedder(generation=4, models=QWEN, rollout=MANUAL | {"promote": old})
    assert world.step(back).replicas[f"search-{old}"] == 1
    assert world.serving() == new
    world.settle()
    world.step(back)
    assert world.serving() == old


def test_taking_the_edit_back_takes_the_new_track_away(world: Any, embedder: Write) -> None:
    world.converge(embedder())
    old = world.serving()
    world.step(embedder(generation=2, models=QWEN))
    world.step(embedder(generation=3))
    assert world.serving() == old
    assert list(world.deployments()) == [f"search-{old}"]


def test_recreate_accepts_the_gap(world: Any, embedder: Write) -> None:
    world.converge(embedder(rollout={"strategy": "Recreate"}))
    plan = world.step(embedder(generation=2, models=QWEN, rollout={"strategy": "Recreate"})).plan
    assert world.serving() == plan.target
    assert list(world.deployments()) == [f"search-{plan.target}"]


def test_where_no_pod_serves_there_is_nothing_to_wait_for(world: Any, embedder: Write) -> None:
    world.converge(embedder(replicas=0))
    plan = world.step(embedder(generation=2, models=QWEN, replicas=0)).plan
    assert world.serving() == plan.target


def test_a_service_taken_away_comes_back_on_the_track_that_can_serve(
    world: Any, embedder: Write
) -> None:
    track = world.converge(embedder()).plan.target
    edited = embedder(generation=2, models=QWEN)
    world.step(edited)
    del world.children["Service", "search"]
    world.step(edited)
    assert world.serving() == track


def test_what_a_revision_resolved_to_is_pinned_without_a_restart(
    world: Any, embedder: Write
) -> None:
    track = world.converge(embedder()).plan.target
    before = template(world, track)
    world.pod(track)
    known = {"embedding": COMMIT}
    world.reports["pod-1"] = PodReport(revisions=known | {"a role of later years": COMMIT})
    world.step(embedder())
    assert template(world, track) == before
    assert world.child("ConfigMap", f"search-{track}")["data"]["REVISION"] == COMMIT
    world.reports["pod-1"] = PodReport(revisions={"embedding": "f" * 40})
    world.step(embedder())
    assert world.child("ConfigMap", f"search-{track}")["data"]["REVISION"] == COMMIT


@pytest.mark.parametrize(
    ("revision", "migrates"), [(COMMIT, False), (COMMIT[:7], False), ("0" * 40, True)]
)
def test_writing_the_commit_that_is_served_anyway_is_no_migration(
    world: Any, embedder: Write, revision: str, migrates: bool
) -> None:
    track = world.converge(embedder()).plan.target
    world.pod(track)
    world.reports["pod-1"] = PodReport(revisions={"embedding": COMMIT})
    world.step(embedder())
    pinned = embedder(generation=2, models={"embedding": f"BAAI/bge-m3@{revision}"})
    assert (world.step(pinned).plan.target != track) == migrates


def newer(world: Any) -> None:
    images = msgspec.structs.replace(world.platform.images, cpu="example.com/smart-embedder:2")
    world.platform = msgspec.structs.replace(world.platform, images=images, drain_delay_seconds=7)


def test_an_upgrade_of_the_operator_alone_changes_nothing(world: Any, embedder: Write) -> None:
    world.converge(embedder())
    before = [world.children[key] for key in sorted(world.children)]
    newer(world)
    world.step(embedder())
    assert [world.children[key] for key in sorted(world.children)] == before


def test_the_upgrade_arrives_with_the_next_edit_of_the_pods(world: Any, embedder: Write) -> None:
    track = world.converge(embedder()).plan.target
    newer(world)
    world.step(embedder(generation=2, replicas=3, autoscaling={"mode": "None"}))
    assert "smart-embedder:1" in str(template(world, track))
    world.step(embedder(generation=3, serving={"queueSize": 10}))
    assert "smart-embedder:2" in str(template(world, track))


def test_the_upgrade_arrives_at_once_where_the_person_says_so(world: Any, embedder: Write) -> None:
    track = world.converge(embedder(rollout={"imagePolicy": "OnUpgrade"})).plan.target
    newer(world)
    world.step(embedder(rollout={"imagePolicy": "OnUpgrade"}))
    assert "smart-embedder:2" in str(template(world, track))


@pytest.fixture
def rounds_anew(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """A newer operator, whose release rounds int8 by another recipe."""

    def upgrade(world: Any) -> None:
        newer(world)
        monkeypatch.setattr(recipes, "RECIPES", {"int8": recipes.RECIPES["int8"] + 1})

    return upgrade


def test_an_upgrade_that_rounds_anew_is_a_migration(
    world: Any, embedder: Write, rounds_anew: Callable[[Any], None]
) -> None:
    manifest = embedder(models=INT8, rollout=AT_ONCE)
    old = world.converge(manifest).plan.target
    before = template(world, old)
    rounds_anew(world)
    new = world.step(manifest).plan.target
    assert (world.serving(), template(world, old)) == (old, before)
    assert "smart-embedder:2" in str(template(world, new))
    world.converge(manifest)
    assert world.serving() == new
    assert list(world.deployments()) == [f"search-{new}"]


def test_the_way_back_to_a_release_that_rounds_as_before_is_a_migration_too(
    world: Any, embedder: Write
) -> None:
    manifest = embedder(models=INT8, rollout=AT_ONCE)
    with pytest.MonkeyPatch.context() as later:
        later.setattr(recipes, "RECIPES", {"int8": recipes.RECIPES["int8"] + 1})
        new = world.converge(manifest).plan.target
    newer(world)
    assert world.step(manifest).plan.target != new


def test_a_recipe_that_is_not_its_dtypes_moves_no_vectors(
    world: Any, embedder: Write, rounds_anew: Callable[[Any], None]
) -> None:
    manifest = embedder(rollout=AT_ONCE)
    track = world.converge(manifest).plan.target
    rounds_anew(world)
    assert world.step(manifest).plan.target == track
    assert "smart-embedder:2" in str(template(world, track))


def test_an_upgrade_of_the_same_recipe_rolls_within_the_track(world: Any, embedder: Write) -> None:
    manifest = embedder(models=INT8, rollout=AT_ONCE)
    track = world.converge(manifest).plan.target
    newer(world)
    assert world.step(manifest).plan.target == track
    assert "smart-embedder:2" in str(template(world, track))


def test_a_release_that_rounds_anew_waits_for_an_edit_and_is_a_migration_then(
    world: Any, embedder: Write, rounds_anew: Callable[[Any], None]
) -> None:
    old = world.converge(embedder(models=INT8)).plan.target
    before = [world.children[key] for key in sorted(world.children)]
    rounds_anew(world)
    world.step(embedder(models=INT8))
    assert [world.children[key] for key in sorted(world.children)] == before
    edited = embedder(generation=2, models=INT8, serving={"queueSize": 10})
    assert world.step(edited).plan.target != old
    assert "smart-embedder:1" in str(template(world, old))


def test_who_leaves_upgrades_to_edits_again_keeps_the_track_that_serves(
    world: Any, embedder: Write, rounds_anew: Callable[[Any], None]
) -> None:
    manual = embedder(models=INT8, rollout=AT_ONCE | MANUAL)
    old = world.converge(manual).plan.target
    rounds_anew(world)
    new = world.converge(manual).plan.target
    promoted = MANUAL | {"promote": new}
    world.converge(embedder(models=INT8, rollout=AT_ONCE | promoted))
    assert world.serving() == new != old
    plan = world.converge(embedder(models=INT8, rollout=promoted)).plan
    assert (plan.target, plan.waiting) == (new, None)


@pytest.fixture
def made_before(world: Any) -> Callable[[Manifest], str]:
    """Make a track as an operator does that knows of no recipes."""

    def make(manifest: Manifest) -> str:
        with pytest.MonkeyPatch.context() as past:
            past.setattr(recipes, "RECIPES", {})
            track: str = world.converge(manifest).plan.target
            return track

    return make


@pytest.mark.parametrize("edit", [{}, {"serving": {"queueSize": 10}}])
@pytest.mark.parametrize("image", [{}, {"reference": "example.com/mine:1"}])
def test_a_record_from_before_recipes_moves_no_vectors_by_itself(
    world: Any,
    embedder: Write,
    made_before: Callable[[Manifest], str],
    image: dict[str, str],
    edit: dict[str, Any],
) -> None:
    spec = {"models": INT8, "rollout": AT_ONCE, "image": image}
    track = made_before(embedder(**spec))
    newer(world)
    assert world.step(embedder(generation=2, **spec, **edit)).plan.target == track
    assert len(world.deployments()) == 1


def test_a_record_from_before_recipes_knows_the_one_it_was_made_by(
    world: Any,
    embedder: Write,
    made_before: Callable[[Manifest], str],
    rounds_anew: Callable[[Any], None],
) -> None:
    manifest = embedder(models=INT8, rollout=AT_ONCE)
    old = made_before(manifest)
    rounds_anew(world)
    assert world.step(manifest).plan.target != old


def named(image: str) -> dict[str, Any]:
    return {"image": {"reference": image}}


def laid_over(image: str) -> dict[str, Any]:
    containers = [{"name": "sidecar", "image": "other"}, {"name": "embedder", "image": image}]
    return {"podTemplate": {"spec": {"containers": containers}}}


@pytest.mark.parametrize("image", [named, laid_over])
@pytest.mark.parametrize(("models", "migrates"), [(INT8, True), (M3, False)])
def test_another_image_of_ones_own_may_round_anew(
    world: Any,
    embedder: Write,
    image: Callable[[str], dict[str, Any]],
    models: dict[str, str],
    migrates: bool,
) -> None:
    old = world.converge(embedder(models=models, **image("mine:1"))).plan.target
    plan = world.step(embedder(generation=2, models=models, **image("mine:2"))).plan
    assert (plan.target != old) == migrates


def test_another_image_of_the_profile_may_round_anew(world: Any, embedder: Write) -> None:
    manifest = embedder(models=INT8, rollout=AT_ONCE, hardware={"profile": "ours"})
    tracks = []
    for image in ("mine:1", "mine:2"):
        profiles = {"ours": Profile(image=image)}
        world.platform = msgspec.structs.replace(world.platform, profiles=profiles)
        tracks.append(world.step(manifest).plan.target)
    assert tracks[0] != tracks[1]


@pytest.mark.parametrize("image", [named, laid_over])
def test_an_image_of_ones_own_rounds_as_itself_whatever_the_release(
    world: Any,
    embedder: Write,
    rounds_anew: Callable[[Any], None],
    image: Callable[[str], dict[str, Any]],
) -> None:
    spec = {"models": INT8, "rollout": AT_ONCE, **image("mine:1")}
    track = world.converge(embedder(**spec)).plan.target
    rounds_anew(world)
    assert world.step(embedder(**spec)).plan.target == track
    assert world.step(embedder(generation=2, serving={"queueSize": 9}, **spec)).plan.target == track


def test_the_old_track_is_rebuilt_as_it_was_when_somebody_deletes_it(
    world: Any, embedder: Write
) -> None:
    track = world.converge(embedder()).plan.target
    edited = embedder(generation=2, models=QWEN, serving={"queueSize": 10})
    world.step(edited)
    before = world.children.pop(("Deployment", f"search-{track}"))
    world.step(edited)
    after = world.child("Deployment", f"search-{track}")
    assert after["spec"]["template"] == before["spec"]["template"]


@pytest.mark.parametrize("rollout", [MANUAL, {}])
@pytest.mark.parametrize("track", ["old", "new"])
def test_a_config_map_deleted_during_a_migration_comes_back_as_it_was(
    world: Any, embedder: Write, rollout: dict[str, Any], track: str
) -> None:
    old = world.converge(embedder(rollout=rollout)).plan.target
    edited = embedder(generation=2, models=QWEN, serving={"queueSize": 10}, rollout=rollout)
    tracks = {"old": old, "new": world.step(edited).plan.target}
    world.step(edited)
    before = template(world, old)
    gone = world.children.pop(("ConfigMap", f"search-{tracks[track]}"))
    world.step(edited)
    assert world.serving() == old
    assert set(world.deployments()) == {f"search-{name}" for name in tracks.values()}
    assert template(world, old) == before
    back = world.child("ConfigMap", f"search-{tracks[track]}")
    assert (back["data"], back["metadata"]["annotations"]) == (
        gone["data"],
        gone["metadata"]["annotations"],
    )


def test_a_mangled_record_only_means_a_new_start(world: Any, embedder: Write) -> None:
    track = world.converge(embedder()).plan.target
    config = world.child("ConfigMap", f"search-{track}")
    config["metadata"]["annotations"]["smart-embedder.io/record"] = "{nonsense"
    assert world.step(embedder()).plan.target == track


def test_paused_touches_nothing(world: Any, embedder: Write) -> None:
    world.converge(embedder())
    assert world.step(embedder(generation=2, models=QWEN, paused=True)).objects is None


def test_paused_tells_of_the_track_that_serves_and_not_of_one_that_may(
    world: Any, embedder: Write
) -> None:
    old = world.converge(embedder()).plan.target
    new = world.step(embedder(generation=2, models=QWEN)).plan.target
    world.settle()
    paused = embedder(generation=3, models=QWEN, paused=True)
    status = world.evaluate(paused)
    assert (world.serving(), status["fingerprint"]) == (old, old)
    assert {track["fingerprint"]: track["role"] for track in status["tracks"]} == {
        old: "Serving",
        new: "Next",
    }


@pytest.mark.parametrize("broken", [{"models": {}}, {"hardware": {"profile": "h1000"}}])
def test_a_spec_that_cannot_be_followed_touches_nothing(
    world: Any, embedder: Write, broken: dict[str, Any]
) -> None:
    world.converge(embedder())
    decision = world.step(embedder(generation=2, **broken))
    assert decision.objects is None
    assert decision.trouble is not None


EDITS = st.sampled_from(
    [
        {},
        {"models": QWEN},
        {"models": M3 | {"maxLength": 512}},
        {"serving": {"queueSize": 5}},
        {"replicas": 3},
        {"autoscaling": {"mode": "HPA", "maxReplicas": 4}},
        {"hardware": {"profile": "nvidia"}},
        {"hardware": {"profile": "nowhere"}},
        {"paused": True},
    ]
)


@settings(max_examples=30, deadline=None)
@given(story=st.lists(st.tuples(EDITS, st.booleans()), min_size=1, max_size=8))
def test_any_story_of_edits_converges_and_never_mixes_vectors(
    new_world: Callable[[], Any], embedder: Write, story: list[tuple[dict[str, Any], bool]]
) -> None:
    world = new_world()
    world.converge(embedder())
    for generation, (edit, settled) in enumerate(story, start=2):
        world.step(embedder(generation=generation, **edit))
        tracks = {name.removeprefix("search-") for name in world.deployments()}
        assert world.serving() in tracks
        if settled:
            world.settle()
    last = embedder(generation=99, models=QWEN, replicas=2)
    final = world.converge(last)
    assert world.serving() == final.plan.target
    assert list(world.deployments()) == [f"search-{final.plan.target}"]
    again = world.decide(last)
    assert again.objects == final.objects


def test_what_release_0_1_0_remembered_is_still_understood(world: Any, embedder: Write) -> None:
    """A record that a newer operator cannot read would restart every pod of every cluster."""
    written = (Path(__file__).parent / "golden/record-0.1.0.json").read_text()
    made = embedder(
        models={"embedding": "demo/bge-m3", "reranker": "demo/bge-reranker-v2-m3"},
        hub={"offline": True},
        hardware={"profile": "cpu-small"},
    )
    track = world.converge(made).plan.target
    config = world.child("ConfigMap", f"search-{track}")
    config["metadata"]["annotations"]["smart-embedder.io/record"] = written
    newer(world)
    world.step(made)
    assert template(world, track) == msgspec.json.decode(written)["template"]
