"""`make up`: from nothing to an answering Embedder, step by step."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from e2e.cluster.images import OPERATOR, REPOSITORY, SERVICE
from e2e.cluster.progress import step
from e2e.cluster.trouble import Trouble
from e2e.questions import EMBEDDING, RERANK, ask
from e2e.release import CHART, Release, Version
from e2e.target import Target, choose, helm

RELEASE = "smart-embedder"
NAMESPACE = "smart-embedder"
QUICKSTART = REPOSITORY / "examples" / "quickstart.yaml"


def main() -> None:
    """Bring everything up; an expected failure is one message and status 1."""
    started = time.monotonic()
    try:
        target = choose()
        target.up()
        operator = bring_up(target)
        answers = ask(
            target.kubectl.inside("default"), operator, "http://search:8000", EMBEDDING, RERANK
        )
    except Trouble as failure:
        sys.exit(str(failure))
    _show(*answers)
    print(_NEXT.format(kubeconfig=target.kubectl.kubeconfig, path=_path(target)))
    print(f"Up in {time.monotonic() - started:.0f} s.")


def bring_up(target: Target) -> str:
    """Images, chart, Embedder; returns the operator image."""
    with step("Operator image"):
        operator = target.image(OPERATOR)
    with step("Service image (the first time takes minutes: it downloads torch)"):
        service = target.image(SERVICE)
    helm()  # built first where there is none
    with step("helm upgrade --install"):
        install(target, operator, service)
    with step("Embedder from examples/quickstart.yaml is Ready"):
        kubectl = target.kubectl.inside("default")
        kubectl("apply", "-f", QUICKSTART)
        kubectl("wait", "embedder/search", "--for=condition=Ready", "--timeout=10m", timeout=620)
    return operator


def install(target: Target, operator: str, service: str, *settings: str) -> None:
    """Install or upgrade the chart with images that were just built."""
    release = Release(target.kubectl, RELEASE, NAMESPACE)
    release.upgrade(Version(CHART, operator, service), *settings)


def _show(embedding: Any, ranking: Any) -> None:
    vector = embedding["data"][0]["embedding"]
    start = ", ".join(f"{number:.3f}" for number in vector[:4])
    print(f"\nPOST {EMBEDDING.path}  {EMBEDDING.body['input']!r}")
    print(f"  → {len(vector)} numbers: [{start}, …]")
    print(f"POST {RERANK.path}  {RERANK.body['query']!r}")
    for result in ranking["results"]:
        text = RERANK.body["documents"][result["index"]]
        print(f"  → {result['relevance_score']:.4f}  {text}")


def _path(target: Target) -> str:
    """What makes `kubectl` a command, where it is not one yet."""
    program = target.kubectl.command()[0]
    return "" if shutil.which("kubectl") else f"\n  export PATH={Path(str(program)).parent}:$PATH"


_NEXT = """
What to try next:
  export KUBECONFIG={kubeconfig}{path}
  kubectl get embedders                          # what is served, and why not if not
  kubectl port-forward service/search 8000 &     # then http://localhost:8000/docs
  kubectl explain embedder.spec                  # everything an Embedder can say
  make down                                      # take it all away again
"""


if __name__ == "__main__":
    main()
