"""The GPU image on a CPU: all of it but the device. It is 6 GB, so this is not a core case."""

import pytest

from e2e.cluster.images import GPU_SERVICE
from e2e.cluster.kubectl import Kubectl
from e2e.questions import EMBEDDING, RERANK, ask
from e2e.target import Target
from e2e.workloads import embedding_server


@pytest.mark.timeout(3600)
def test_the_gpu_images_service_answers_on_a_cpu(
    target: Target, kubectl: Kubectl, operator_image: str
) -> None:
    image = target.image(GPU_SERVICE)
    kubectl.apply(*embedding_server("search", image))
    patience = ("status", "deployment/search", "--timeout=590s")
    kubectl("rollout", *patience, timeout=600)

    embedding, ranking = ask(kubectl, operator_image, "http://search:8000", EMBEDDING, RERANK)

    assert len(embedding["data"][0]["embedding"]) > 0
    assert len(ranking["results"]) == 2
