"""The diagnosis table: each fault as it happens in a cluster, seen on the Embedder, mended, gone.

A group of rows is broken together in one namespace and mended together. The seconds count from
the moment Kubernetes itself shows the fault, or from the edit where it is one.
"""

import secrets

import pytest

from e2e import evidence
from e2e.cluster.kubectl import Kubectl
from e2e.diagnosis.course import Course, Play
from e2e.diagnosis.row import Row
from e2e.diagnosis.rows_of_places import AROUND, LOST_NODES, PLACES
from e2e.diagnosis.rows_of_pods import ENDS, GPU_NODES, IMAGES, MODELS
from e2e.target import Embedded, Target
from e2e.workloads import restricted_namespace

WITHIN_SECONDS = 30.0
TABLE = (IMAGES, PLACES, MODELS, ENDS, AROUND, GPU_NODES, LOST_NODES)
CORE = {"token-secret-missing"}
CASES = [
    pytest.param(row, id=row.name, marks=[pytest.mark.core] if row.name in CORE else [])
    for rows in TABLE
    for row in rows
]


@pytest.fixture(scope="module")
def courses(
    request: pytest.FixtureRequest,
    target: Target,
    operator: Kubectl,
    operator_image: str,
    service_image: str,
) -> dict[str, Course]:
    """The rows that were asked for, played group by group, each group in a namespace of its own."""
    assert operator.namespace
    cluster = target.cluster if isinstance(target, Embedded) else None
    asked = _asked(request)
    played: dict[str, Course] = {}
    for group in TABLE:
        rows = [row for row in group if row.name in asked and (cluster or not row.is_embedded)]
        if rows:
            kubectl = target.kubectl.inside(f"e2e-{secrets.token_hex(4)}")
            played |= _play(
                Play(
                    rows,
                    kubectl,
                    cluster,
                    operator_image=operator_image,
                    service_image=service_image,
                )
            )
    return played


def _asked(request: pytest.FixtureRequest) -> set[str]:
    """What `-k` and `-m` left of the table."""
    cases = [item for item in request.session.items if item.parent is request.node]
    return {str(each.callspec.params["row"]) for each in cases if isinstance(each, pytest.Function)}


def _play(play: Play) -> dict[str, Course]:
    """From a new namespace to its end; what is left open leaves its evidence."""
    name = str(play.kubectl.namespace)
    play.kubectl.apply(restricted_namespace(name))
    try:
        play.run()
    finally:
        if open_rows := [row for row, course in play.courses.items() if not course.is_through]:
            print(f"evidence: {evidence.keep(f'diagnosis-{open_rows[0]}', play.kubectl)}")
        play.kubectl("delete", "namespace", name, "--wait=false")
    return play.courses


@pytest.mark.parametrize("row", CASES)
def test_the_embedder_says_what_is_wrong_and_takes_it_back(
    courses: dict[str, Course], row: Row
) -> None:
    if row.name not in courses:
        pytest.skip("needs nodes that can be stopped and GPUs that are none: the embedded cluster")
    course = courses[row.name]
    print(
        f"{row.reason} told after {course.until_told:.1f} s,"
        f" cleared after {course.until_cleared:.1f} s"
    )
    assert course.until_told <= WITHIN_SECONDS
    assert course.until_cleared <= WITHIN_SECONDS
