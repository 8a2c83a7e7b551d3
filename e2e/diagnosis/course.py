"""Plays rows together: breaks all, watches who says what when, mends all, watches again."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.kubectl import Kubectl
from e2e.diagnosis.facts import Seen, an_edit
from e2e.diagnosis.row import Row, Scene
from e2e.diagnosis.stand_in import STAND_IN
from e2e.embedder import Embedder

LONGEST_SECONDS = 150.0
"""A cold node fetches an image, and a crash loop pauses, before anything can be seen."""
LOOKED_AT = (
    "embedders,pods,deployments,persistentvolumeclaims,horizontalpodautoscalers,events,nodes"
)


@dataclass
class Course:
    """When what was seen of one row, on one clock; None while it was not."""

    shown: float | None = None
    told: float | None = None
    gone: float | None = None
    cleared: float | None = None
    message: str = ""

    @property
    def is_through(self) -> bool:
        """Whether it came to its end, soon or late."""
        return None not in {self.shown, self.told, self.gone, self.cleared}

    @property
    def until_told(self) -> float:
        """Seconds from the fault in Kubernetes to its name on the Embedder."""
        assert self.shown is not None, "Kubernetes never showed the fault"
        assert self.told is not None, f"never told; said last: {self.message}"
        return max(self.told - self.shown, 0.0)

    @property
    def until_cleared(self) -> float:
        """Seconds from the cure in Kubernetes to an Embedder without a fault."""
        assert self.gone is not None, "Kubernetes shows the fault still"
        assert self.cleared is not None, f"never cleared; said last: {self.message}"
        return max(self.cleared - self.gone, 0.0)


class Play:
    """Rows in one namespace."""

    def __init__(
        self,
        rows: Iterable[Row],
        kubectl: Kubectl,
        cluster: EmbeddedCluster | None,
        *,
        operator_image: str,
        service_image: str,
    ) -> None:
        """Nothing is broken yet."""
        self.kubectl = kubectl
        self._scenes = {
            row: Scene(Embedder(kubectl, row.name), kubectl, cluster, operator_image, service_image)
            for row in rows
        }
        self.courses = {row.name: Course() for row in self._scenes}

    def run(self) -> None:
        """From the first act to the last; nothing outside the namespace stays."""
        try:
            self._break()
            self._watch(_note_fault)
            self._mend()
            self._watch(_note_cure)
        finally:
            for row, scene in self._scenes.items():
                row.after(scene)

    def _mend(self) -> None:
        for row, scene in self._scenes.items():
            row.mend(scene)
            if row.fact is an_edit:
                self.courses[row.name].gone = time.monotonic()

    def _break(self) -> None:
        for row, scene in self._scenes.items():
            row.before(scene)
            usual = {} if row.is_real else STAND_IN
            scene.embedder.create(**scene.filled(usual | row.spec))
            if row.fact is an_edit:
                self.courses[row.name].shown = time.monotonic()
        for row, scene in self._scenes.items():
            if row.breaks is not None:
                scene.embedder.ready()
                row.breaks(scene)

    def _watch(self, note: Callable[[Row, Seen, Course], bool]) -> None:
        """Look until every row is through, or for as long as anybody would wait."""
        open_rows = set(self._scenes)
        deadline = time.monotonic() + LONGEST_SECONDS
        while open_rows and time.monotonic() < deadline:
            items = tuple(self.kubectl.get(LOOKED_AT)["items"])
            open_rows = {
                row
                for row in open_rows
                if not note(row, Seen(row.name, items), self.courses[row.name])
            }
            time.sleep(0.3)


def _note_fault(row: Row, seen: Seen, course: Course) -> bool:
    now = time.monotonic()
    if course.shown is None and row.fact(seen):
        course.shown = now
    degraded, ready = seen.condition("Degraded"), seen.condition("Ready")
    course.message = f"{degraded.get('reason')}: {degraded.get('message')}"
    is_told = (
        degraded.get("reason") == row.reason
        and all(words in degraded["message"] for words in row.says)
        and (row.serves or ready["status"] == "False")
    )
    if course.told is None and is_told:
        course.told = now
    return course.shown is not None and course.told is not None


def _note_cure(row: Row, seen: Seen, course: Course) -> bool:
    now = time.monotonic()
    if row.fact is not an_edit:
        course.gone = None if row.fact(seen) else course.gone or now
    degraded = seen.condition("Degraded")
    if degraded.get("status") != "False":
        course.message = f"{degraded.get('reason')}: {degraded.get('message')}"
        course.cleared = None
    elif course.cleared is None:
        course.cleared = now
    is_ready = seen.condition("Ready").get("status") == "True"
    return is_ready and course.gone is not None and course.cleared is not None
