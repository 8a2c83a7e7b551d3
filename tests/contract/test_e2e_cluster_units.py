"""The parts of the embedded cluster that decide something, without a cluster."""

import itertools
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from e2e.cluster import binaries, images, preflight, storage
from e2e.cluster.commands import CommandFailed, output
from e2e.cluster.layout import MOST_NODES, Layout
from e2e.cluster.node_files import NodeFiles
from e2e.cluster.pki import Authority, write_kubeconfig
from e2e.cluster.registry import Registry
from e2e.cluster.waiting import WaitedInVain, until


def test_two_clusters_share_no_address() -> None:
    plans = [Layout(), Layout("another")]
    networks = [
        network
        for plan in plans
        for network in (
            plan.fabric,
            plan.services,
            *(plan.pods(index) for index in range(1, MOST_NODES + 1)),
        )
    ]

    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))


def test_every_address_is_in_the_range_that_nobody_routes() -> None:
    plan = Layout("some-name")

    assert str(plan.node(3)).startswith("198.18.")
    assert str(plan.dns).startswith("198.19.")


@pytest.mark.parametrize(
    "module",
    [*binaries.CLUSTER, *binaries.TOOLS, binaries.SKAFFOLD],
    ids=lambda m: m.name,
)
def test_every_module_pins_a_version(module: binaries.Module) -> None:
    assert re.fullmatch(r"v\d+(\.\d+\.\d+)?", module.version)


def test_another_pin_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "MODULES", tmp_path)
    module = binaries.Module("tool", "example.org/tool", {"tool": "."})
    (tmp_path / "tool").mkdir()
    built = []
    for release in ("v1.0.0", "v1.0.1"):
        (tmp_path / "tool" / "go.mod").write_text(
            f"module x\n\nrequire example.org/tool {release}\n"
        )
        built.append(module.built)

    assert built[0] != built[1]
    assert "v1.0.1" in built[1].name


def test_what_a_machine_lacks_is_said_all_at_once_with_what_to_do() -> None:
    told = "\n".join(preflight.problems("Linux", 1000, ["runc", "skopeo"], go=False))

    assert "root" in told
    assert "apt-get install --no-install-recommends runc skopeo" in told
    assert "go.dev" in told


def test_a_machine_that_has_everything_has_no_problems() -> None:
    assert preflight.problems("Linux", 0, [], go=True) == []


def test_another_system_is_pointed_to_a_cluster_of_its_own() -> None:
    [told] = preflight.problems("Darwin", 501, [], go=True)

    assert "KUBECONFIG" in told


def test_a_condition_that_never_comes_names_itself_and_what_was_last_seen() -> None:
    with pytest.raises(WaitedInVain, match=r"a better day: not within 0 s \(last seen: 0\)"):
        until(lambda: 0, "a better day", seconds=0)


def test_a_failed_command_says_what_it_said() -> None:
    with pytest.raises(CommandFailed, match="sh ended with 3: no luck"):
        output(["sh", "-c", "echo no luck >&2; exit 3"])


def test_a_kubeconfig_carries_a_certificate_of_the_clusters_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("admin", "admin", "system:masters", ["localhost", "127.0.0.1"])
    write_kubeconfig(tmp_path / "config", "https://127.0.0.1:6443", Authority(tmp_path), identity)

    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    certificate.verify_directly_issued_by(issuer)
    assert "O=system:masters" in certificate.subject.rfc4514_string()
    assert "certificate-authority-data" in (tmp_path / "config").read_text()


def test_a_node_fetches_images_from_nowhere_but_the_clusters_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2e.cluster.layout.STATE", tmp_path)
    files = NodeFiles(Layout("test"), 2)

    files.containerd()

    hosts = (files.folder / "registry" / "_default" / "hosts.toml").read_text()
    assert set(re.findall(r"http[^\"]*", hosts)) == {Layout("test").registry}


def test_a_file_that_says_the_same_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2e.cluster.layout.STATE", tmp_path)
    files = NodeFiles(Layout("test"), 1)
    files.containerd()
    before = (files.folder / "containerd.toml").stat().st_mtime_ns

    files.containerd()

    assert (files.folder / "containerd.toml").stat().st_mtime_ns == before


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout with two tags of one image."""
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    names = {"old": "aa", "new": "bb"}
    for tag, digest in names.items():
        layer = {"digest": f"sha256:layer-{tag}", "size": 1}
        manifest = {"config": {"digest": f"sha256:config-{tag}"}, "layers": [layer]}
        (blobs / digest).write_text(json.dumps(manifest))
        (blobs / f"layer-{tag}").write_text(tag)
        (blobs / f"config-{tag}").write_text("{}")
    name = "org.opencontainers.image.ref.name"
    entries = [
        {"digest": f"sha256:{digest}", "annotations": {name: f"localhost/image:{tag}"}}
        for tag, digest in names.items()
    ]
    (tmp_path / "index.json").write_text(json.dumps({"manifests": entries}))
    return tmp_path


@pytest.fixture
def registry(layout: Path) -> Iterator[str]:
    """A registry that serves the layout; its address."""
    with Registry(("127.0.0.1", 0), layout) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_registry_serves_manifests_by_tag_and_layers_by_digest(registry: str) -> None:
    with urllib.request.urlopen(f"{registry}/v2/image/manifests/new?ns=localhost") as answer:
        assert answer.headers["Docker-Content-Digest"] == "sha256:bb"
        assert answer.headers["Content-Type"].startswith("application/vnd.oci.image.manifest")
    with urllib.request.urlopen(f"{registry}/v2/image/blobs/sha256:layer-new") as answer:
        assert answer.read() == b"new"


@pytest.mark.parametrize(
    "path",
    [
        "/v2/image/manifests/absent?ns=localhost",
        "/v2/image/manifests/new?ns=example.org",
        "/v2/image/blobs/sha256:absent",
        "/v2/image/blobs/sha256:..",
        "/",
    ],
)
def test_the_registry_has_nothing_else(registry: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(registry + path)
    refused.value.close()


def test_pruning_keeps_the_newest_image_and_drops_what_only_older_ones_had(
    layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "store", lambda: layout)

    images.prune_layout()

    assert images.published() == {"localhost/image:new": "sha256:bb"}
    kept = {blob.name for blob in (layout / "blobs" / "sha256").iterdir()}
    assert kept == {"bb", "layer-new", "config-new"}


def test_a_claim_is_answered_on_the_node_of_its_first_pod_and_not_before() -> None:
    waiting = {
        "metadata": {"namespace": "default", "name": "models", "uid": "7"},
        "spec": {
            "storageClassName": storage.CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    assert storage.wanted([waiting]) == []

    placed = {
        **waiting,
        "metadata": {
            **waiting["metadata"],
            "annotations": {"volume.kubernetes.io/selected-node": "node2"},
        },
    }
    assert storage.wanted([placed]) == [placed]
    volume = storage.volume_for(placed, Path("/volumes/7"))
    assert volume["spec"]["claimRef"]["uid"] == "7"
    assert "node2" in json.dumps(volume["spec"]["nodeAffinity"])


def test_only_released_volumes_of_ours_are_taken_away() -> None:
    def volume(phase: str, made_by: str = storage.PROVISIONER) -> storage.Manifest:
        annotations = {"pv.kubernetes.io/provisioned-by": made_by}
        return {"metadata": {"annotations": annotations}, "status": {"phase": phase}}

    gone = volume("Released")
    assert storage.released([volume("Bound"), gone, volume("Released", "someone.else")]) == [gone]
