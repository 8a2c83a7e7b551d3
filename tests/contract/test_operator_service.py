"""The operator speaks of the service by names: variables, ports, paths, gauges and reasons.

The two programs never import each other, so only this file sees both.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from smart_embedder import errors
from smart_embedder.cli import main
from smart_embedder.environment import PREFIX
from smart_embedder.models import model
from smart_embedder.settings import Settings
from smart_embedder_operator import recipes
from smart_embedder_operator.conditions import Reason
from smart_embedder_operator.metrics_api.exposition import METRICS, MODEL_INFO
from smart_embedder_operator.platform import Capabilities, Images, Platform
from smart_embedder_operator.render import render
from smart_embedder_operator.resources import config, scaling
from smart_embedder_operator.spec.scaling import Autoscaling

ROOT = Path(__file__).parents[2]

# What other programs in the same process read: OpenTelemetry's SDK, the TLS and HTTP libraries.
# The facts of the pod stand for people's own use in podTemplate and in OTEL_RESOURCE_ATTRIBUTES.
NOT_SETTINGS = {
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "POD_NAME",
    "POD_NAMESPACE",
    "NODE_NAME",
}


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """Everything the fullest example becomes."""
    platform = Platform(
        version="0",
        namespace="operator",
        images=Images(cpu="cpu", cuda="cuda"),
        capabilities=Capabilities(service_monitor=True, prometheus_rule=True, http_route=True),
    )
    text = (ROOT / "examples/full-gpu.yaml").read_text()
    return list(yaml.safe_load_all(render(text, platform)))


@pytest.fixture(scope="module")
def container(rendered: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = (item for item in rendered if item["kind"] == "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.fixture(scope="module")
def told(rendered: list[dict[str, Any]], container: dict[str, Any]) -> dict[str, Any]:
    """Every variable that a pod is given."""
    (settings,) = (item["data"] for item in rendered if item["kind"] == "ConfigMap")
    return settings | {one["name"]: one.get("value") for one in container["env"]}


def test_every_variable_is_a_setting_of_the_service(told: dict[str, Any]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert told.keys() - known - NOT_SETTINGS == set()
    assert NOT_SETTINGS - told.keys() == {"HTTP_PROXY"}, "an exception that nothing needs"


def test_every_pinned_revision_is_a_setting_of_the_service() -> None:
    assert {name.lower() for name in config.REVISIONS.values()} <= Settings.model_fields.keys()


def test_the_service_takes_the_values(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        if value is not None and name not in NOT_SETTINGS:
            monkeypatch.setenv(f"{PREFIX}{name}", value)
    settings = Settings()
    assert settings.embedding_model == "BAAI/bge-m3"
    assert settings.revision == "5617a9f61b028005a4858fdac845db406aefb181"
    assert settings.request_timeout == 45
    assert settings.drain_seconds == 60
    assert settings.rate_limit_requests_per_minute == 0
    assert settings.otlp_endpoint == "http://collector.observability:4317"


def test_the_ports_are_those_the_service_listens_on(container: dict[str, Any]) -> None:
    fields = Settings.model_fields
    defaults = fields["port"].default, fields["metrics_port"].default
    assert defaults == (config.PORT, config.METRICS_PORT)
    assert [one["containerPort"] for one in container["ports"]] == [
        config.PORT,
        config.METRICS_PORT,
    ]


def test_the_probes_ask_paths_that_the_service_answers(container: dict[str, Any]) -> None:
    routes = (ROOT / "service/smart_embedder/api/routes.py").read_text()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in routes


def test_every_gauge_that_is_asked_for_is_exported(rendered: list[dict[str, Any]]) -> None:
    exported = (ROOT / "tests/service/telemetry/metric_names.txt").read_text()
    asked = {
        scaling.metric(Autoscaling()),
        scaling.metric(Autoscaling(exclude_bulk=True)),
        scaling.metric(Autoscaling(target_drain_seconds=3)),
    }
    asked |= {*METRICS, MODEL_INFO}
    (rule,) = (item for item in rendered if item["kind"] == "PrometheusRule")
    asked |= set(re.findall(r"smart_embedder_\w+", str(rule["spec"]["groups"][0]["rules"])))
    assert {name for name in asked if name not in exported} == set()


def test_the_image_knows_the_commands(
    rendered: list[dict[str, Any]],
    container: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (job,) = (item for item in rendered if item["kind"] == "Job")
    downloads = [one["args"] for one in job["spec"]["template"]["spec"]["containers"]]
    assert len(downloads) == 3
    for command in (container["args"], *downloads):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--help"])
        assert ended.value.code == 0
        assert command[0] in capsys.readouterr().out


def test_the_recipes_are_those_that_the_service_rounds_by() -> None:
    """Otherwise an upgrade would roll pods of two vector fingerprints behind one Service."""
    assert dict(recipes.RECIPES) == dict(model.RECIPES)


def test_every_reason_of_a_failed_start_is_a_reason_of_the_operator() -> None:
    def kinds(error: type[errors.StartupFailed]) -> set[str]:
        return {error.reason}.union(*(kinds(kind) for kind in error.__subclasses__()))

    # What has no cause of its own is told as a crash with the service's words.
    assert kinds(errors.StartupFailed) - set(Reason) == {"StartupFailed"}
