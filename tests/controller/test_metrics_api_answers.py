"""The metrics API's pure parts: selectors, pages, pods, documents."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder_operator.metrics_api import answers
from smart_embedder_operator.metrics_api.exposition import read_gauges, read_models
from smart_embedder_operator.metrics_api.pods import PodTable, ScrapedPod, scraped_pod
from smart_embedder_operator.metrics_api.scrape import Sample
from smart_embedder_operator.metrics_api.selectors import BadSelector, matches, parse_selector

PAGE = b"""# HELP smart_embedder_queue_depth Requests admitted and not yet answered.
# TYPE smart_embedder_queue_depth gauge
smart_embedder_queue_depth 12.0
smart_embedder_queue_depth_total 99
smart_embedder_queue_waiting 3 1732100000000
smart_embedder_queue_tokens NaN
smart_embedder_model_info{role="embedding",model="BAAI/bge-m3",revision="56",fingerprint="ab12"} 1.0
smart_embedder_model_info{role="reranker",model="a \\"b\\"",revision=""} 1
smart_embedder_model_info{role="gone",model="c"} 0
"""


def test_the_wanted_gauges_are_found_among_all_others() -> None:
    assert read_gauges(PAGE) == {
        "smart_embedder_queue_depth": 12.0,
        "smart_embedder_queue_waiting": 3.0,
    }


def test_a_gauge_on_the_first_line_and_without_a_line_end_is_found() -> None:
    assert read_gauges(b"smart_embedder_queue_depth 7") == {"smart_embedder_queue_depth": 7.0}


@given(page=st.binary(max_size=200))
def test_any_bytes_are_a_page(page: bytes) -> None:
    values = read_gauges(b"smart_embedder_queue_depth " + page)
    assert all(value >= 0 for value in values.values())
    read_models(page)


def test_the_models_a_pod_holds_are_read_from_their_labels() -> None:
    embedding, reranker = read_models(PAGE)
    assert embedding == {
        "role": "embedding",
        "model": "BAAI/bge-m3",
        "revision": "56",
        "fingerprint": "ab12",
    }
    assert reranker["role"] == "reranker"


LABELS = {"app": "web", "tier": "gpu"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=gpu", True),
        ("app=web,tier=cpu", False),
        ("app!=web", False),
        ("absent!=x", True),
        ("app in (web, api),tier notin (cpu)", True),
        ("app in (api)", False),
        ("absent in (x)", False),
        ("absent notin (x)", True),
        ("app", True),
        ("!app", False),
        ("!absent", True),
        ("smart-embedder.io/embedder=search", False),
    ],
)
def test_selectors_choose_as_the_api_server_does(selector: str, *, expected: bool) -> None:
    assert matches(parse_selector(selector), LABELS) is expected


@pytest.mark.parametrize("selector", ["a=b=c", "app in web", "=x", "app in (a", "a b"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(BadSelector):
        parse_selector(selector)


def pod(name: str = "a", **status: Any) -> Any:
    return {
        "metadata": {"name": name, "namespace": "ml", "uid": f"uid-{name}", "labels": LABELS},
        "spec": {"containers": [{"name": "serve", "ports": []}]},
        "status": {
            "podIP": "10.0.0.1",
            "phase": "Running",
            "containerStatuses": [{"started": True}],
        }
        | status,
    }


def test_a_pod_without_an_address_or_at_its_end_is_not_scraped() -> None:
    assert scraped_pod(pod(podIP=None)) is None
    assert scraped_pod(pod(phase="Pending")) is None
    assert scraped_pod(pod(phase="Succeeded")) is None


def test_a_pod_is_loading_until_its_startup_probe_has_passed() -> None:
    loading, started = (
        scraped_pod(pod(containerStatuses=[{"started": value}])) for value in (False, True)
    )
    assert loading is not None
    assert loading.loading
    assert started is not None
    assert not started.loading


def test_a_sidecar_that_has_started_does_not_end_the_loading() -> None:
    beside = scraped_pod(pod(containerStatuses=[{"started": False}, {"started": True}]))
    assert beside is not None
    assert beside.loading


def test_the_metrics_port_is_the_containers_or_the_services_own() -> None:
    named = pod()
    named["spec"]["containers"][0]["ports"] = [{"name": "metrics", "containerPort": 9999}]
    ours, default = scraped_pod(named), scraped_pod(pod(podIP="fd00::1"))
    assert ours is not None
    assert ours.url == "http://10.0.0.1:9999/metrics"
    assert default is not None
    assert default.url == "http://[fd00::1]:9090/metrics"


def test_a_list_drops_pods_whose_end_nobody_told_us_of() -> None:
    table = PodTable()
    table.update(pod("ghost"))
    table.update(pod("kept"))
    table.replace([pod("kept"), pod("new")], as_of=float("inf"))
    assert {one.name for one in table} == {"kept", "new"}


def test_a_pod_that_went_while_a_list_was_read_stays_gone_and_raises_no_doubt() -> None:
    table = PodTable()
    table.update(pod("gone"))
    table.remove(pod("gone"))
    assert table.replace([pod("gone")], as_of=0.0) == ()
    assert list(table) == []


def test_a_list_is_no_match_for_events_that_came_while_it_was_read() -> None:
    table = PodTable()
    table.update(pod("newer"))
    table.replace([], as_of=0.0)
    assert {one.name for one in table} == {"newer"}


def test_a_removed_pod_is_forgotten() -> None:
    table = PodTable()
    table.update(pod())
    table.remove(pod())
    assert len(table) == 0


def scraped() -> tuple[ScrapedPod, Sample]:
    found = scraped_pod(pod())
    assert found is not None
    taken = datetime(2026, 11, 20, 12, 0, 5, 999999, tzinfo=UTC)
    return found, Sample("uid-a", {"smart_embedder_queue_depth": 8.0}, (), taken, 0.0)


def test_values_are_worded_as_each_version_of_the_api_wants() -> None:
    common = {
        "describedObject": {
            "kind": "Pod",
            "namespace": "ml",
            "name": "a",
            "uid": "uid-a",
            "apiVersion": "/v1",
        },
        "timestamp": "2026-11-20T12:00:05Z",
        "value": "8",
    }
    metric = "smart_embedder_queue_depth"
    newer = answers.value_list("v1beta2", metric, [scraped()])
    assert newer["apiVersion"] == "custom.metrics.k8s.io/v1beta2"
    assert newer["items"] == [
        common | {"metric": {"name": metric, "selector": None}, "windowSeconds": 0}
    ]
    older = answers.value_list("v1beta1", metric, [scraped()])
    assert older["items"] == [common | {"metricName": metric, "selector": None, "window": 0}]


def test_the_discovery_document_names_every_metric_of_pods() -> None:
    found = answers.resource_list("v1beta2")
    assert {each["name"] for each in found["resources"]} == {
        "pods/smart_embedder_queue_depth",
        "pods/smart_embedder_interactive_queue_depth",
        "pods/smart_embedder_queue_waiting",
        "pods/smart_embedder_queue_tokens",
        "pods/smart_embedder_estimated_drain_seconds",
    }
    assert all(each["namespaced"] for each in found["resources"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (8.0, "8"), (0.5, "500m"), (1.0005, "1"), (123456.25, "123456250m")],
)
def test_quantities_are_exact_to_a_thousandth(value: float, text: str) -> None:
    assert answers.quantity(value) == text
