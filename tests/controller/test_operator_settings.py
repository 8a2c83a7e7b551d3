"""The operator's settings and credentials: read once, typos refused."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from smart_embedder_operator.credentials import (
    Credentials,
    NoCredentials,
    find_credentials,
    from_kubeconfig,
)
from smart_embedder_operator.settings import Settings, SettingsError, load_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}) == Settings()


def test_every_variable_is_read_with_and_without_the_prefix() -> None:
    told = load_settings(
        {
            "WATCH_NAMESPACES": "ml, search",
            "SMART_EMBEDDER_METRICS_API": "true",
            "WORKERS": "3",
            "SCRAPE_SECONDS": "2.5",
            "UNRELATED": "ignored",
        }
    )
    assert told == Settings(
        watch_namespaces=("ml", "search"), metrics_api=True, workers=3, scrape_seconds=2.5
    )


@pytest.mark.parametrize(
    ("told", "listens"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "0.0.0.0"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1"}, "::"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "HOST": "127.0.0.1"}, "127.0.0.1"),
    ],
)
def test_the_ports_listen_on_the_family_that_the_cluster_has(
    told: dict[str, str], listens: str
) -> None:
    assert load_settings(told).address == listens


def test_a_typo_within_the_prefix_is_refused() -> None:
    with pytest.raises(SettingsError, match="SMART_EMBEDDER_METRIC_API is not a setting"):
        load_settings({"SMART_EMBEDDER_METRIC_API": "true"})


@pytest.mark.parametrize(
    "link",
    [
        "SMART_EMBEDDER_OPERATOR_SERVICE_HOST",
        "SMART_EMBEDDER_OPERATOR_SERVICE_PORT_HTTPS",
        "SMART_EMBEDDER_OPERATOR_PORT",
        "SMART_EMBEDDER_OPERATOR_PORT_443_TCP_ADDR",
    ],
)
def test_what_kubernetes_injects_for_services_is_no_typo(link: str) -> None:
    assert load_settings({link: "tcp://10.0.0.1:443"}) == Settings()


def test_a_value_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"workers"):
        load_settings({"WORKERS": "many"})


def kubeconfig(folder: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Path:
    path = folder / "config"
    written = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/"} | (cluster or {})}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(written))
    return path


def inline(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_kubeconfig_may_hold_its_certificates_or_name_their_files(tmp_path: Path) -> None:
    (tmp_path / "client.key").write_text("KEY")
    path = kubeconfig(
        tmp_path,
        {"client-certificate-data": inline("CERTIFICATE"), "client-key": "client.key"},
        {"certificate-authority-data": inline("AUTHORITY")},
    )
    assert from_kubeconfig(path) == Credentials(
        server="https://api:6443", ca="AUTHORITY", certificate="CERTIFICATE", certificate_key="KEY"
    )


def test_login_plugins_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials, match="login plugins are not supported"):
        from_kubeconfig(kubeconfig(tmp_path, {"exec": {"command": "aws"}}))


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {})
    path.write_text(path.read_text().replace('"current-context": "here"', '"current-context": "x"'))
    with pytest.raises(NoCredentials, match="no entry named 'x'"):
        from_kubeconfig(path)


def test_in_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("AUTHORITY")
    (tmp_path / "token").write_text("secret\n")
    pod = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = find_credentials(pod, tmp_path)
    assert (found.server, found.ca, found.bearer()) == (
        "https://[fd00::1]:443",
        "AUTHORITY",
        "secret",
    )


def test_outside_of_everything_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials, match="KUBECONFIG"):
        find_credentials({"HOME": str(tmp_path)})
