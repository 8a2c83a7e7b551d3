"""Where a model's files come from: a local folder, the hub, or the offline cache of either.

It owns names, downloads and the words for everything that can go wrong with them. What is in the
files is the families' business.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from smart_embedder.errors import (
    ModelDownloadFailed,
    ModelGated,
    ModelLoadFailed,
    ModelMissing,
    StartupFailed,
)
from smart_embedder.options import ModelOptions

_TRANSPORT: type[Exception] = HfHubHTTPError.__bases__[0]
"""What the HTTP library under the hub's client raises; which library that is differs by version."""

Report = Callable[[int, int], None]
"""Told the bytes that are here and those that there will be."""

_KINDS = (".json", ".safetensors", ".pt", ".txt", ".model", ".bin", ".jinja")
_FOREIGN = ("onnx", "openvino", "imgs", "assets", "original")
"""Folders that hold the same weights for somebody else, or pictures."""


@dataclass(frozen=True, slots=True)
class Hub:
    """How the hub is reached, if at all."""

    offline: bool = False
    endpoint: str | None = None
    cache_dir: str | None = None


def find(options: ModelOptions, hub: Hub, report: Report) -> Path:
    """Bring a model's files to this machine; raises a `StartupFailed` that says what to do."""
    local = Path(options.name)
    if local.is_dir():
        return local
    if local.is_absolute() or options.name.startswith("."):
        raise ModelMissing(f"there is no folder {options.name}")
    if hub.offline:
        return _cached(options, hub)
    try:
        with _told(options):
            return _download(options, hub, report)
    except ModelDownloadFailed as failure:
        return _cached_instead(options, hub, failure)


def _download(options: ModelOptions, hub: Hub, report: Report) -> Path:
    info = HfApi(endpoint=hub.endpoint).model_info(
        options.name, revision=options.revision, files_metadata=True
    )
    revision = str(info.sha)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    names = list(wanted(sizes))
    if not names:
        raise ModelMissing(f"{options.name} has no files that a model is read from")
    counter = _Counter(sum(sizes[name] for name in names), report)
    config = ""
    for name in names:
        config = hf_hub_download(
            options.name,
            name,
            revision=revision,
            cache_dir=hub.cache_dir,
            endpoint=hub.endpoint,
            tqdm_class=counter.bar(),
        )
        counter.finished(sizes[name])
    depth = len(PurePosixPath(names[-1]).parts)
    folder = Path(config).parents[depth - 1]
    _remember(folder, options.revision or "main")
    return folder


def _remember(folder: Path, revision: str) -> None:
    """Note in the cache which commit a branch or tag was, so that it is found offline too."""
    if revision != folder.name:
        reference = folder.parents[1] / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(folder.name)


def wanted(names: Iterable[str]) -> Iterator[str]:
    """Choose the files a model is read from; pickled weights only where there are no others."""
    chosen = [PurePosixPath(name) for name in names]
    chosen = [p for p in chosen if p.suffix in _KINDS and p.parts[0] not in _FOREIGN]
    safe = {path.parent for path in chosen if path.suffix == ".safetensors"}
    for path in chosen:
        if path.suffix != ".bin" or path.parent not in safe:
            yield str(path)


def _cached(options: ModelOptions, hub: Hub) -> Path:
    try:
        path = snapshot_download(
            options.name,
            revision=options.revision,
            cache_dir=hub.cache_dir,
            local_files_only=True,
        )
    except (LocalEntryNotFoundError, HFValidationError) as error:
        where = hub.cache_dir or "the Hugging Face cache"
        raise ModelMissing(
            f"{options.name} is not in {where} and the service is offline; bring it there with "
            f"`smart-embedder models download {options.name}`, or serve a local folder"
        ) from error
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ModelMissing(
            f"config.json of {options.name} is missing from {folder}, and the service is offline"
        )
    return folder


def _cached_instead(options: ModelOptions, hub: Hub, failure: ModelDownloadFailed) -> Path:
    """A hub that is down does not matter to a model that is here in full."""
    try:
        return _cached(options, hub)
    except ModelMissing:
        raise failure from failure.__cause__


@contextmanager
def _told(options: ModelOptions) -> Iterator[None]:
    """Turn what the hub's client raises into words for the person who chose the model."""
    name = options.name if options.revision is None else f"{options.name}@{options.revision}"
    try:
        yield
    except StartupFailed:
        raise
    except GatedRepoError as error:
        raise ModelGated(
            f"{name} is gated: accept its licence on the hub and give a token (HF_TOKEN)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ModelMissing(
            f"the hub has no model {name} for this token; is the name spelt right?"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ModelDownloadFailed(f"{name}: HF_HUB_OFFLINE forbids the download") from error
    except (_TRANSPORT, LocalEntryNotFoundError) as error:
        raise ModelDownloadFailed(f"{name} could not be fetched from the hub: {error}") from error
    except OSError as error:
        raise ModelDownloadFailed(f"{name} did not arrive whole: {error}") from error


class _Counter:
    """Adds up the bytes of several files."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report
        self._done = 0
        report(0, total)

    def finished(self, size: int) -> None:
        """Count a file that is here."""
        self._done += size
        self._report(self._done, self._total)

    def bar(self) -> type["tqdm[Any]"]:
        """Make what the hub's client takes for a progress bar."""
        counter = self

        class Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
            def __init__(self, *arguments: Any, **options: Any) -> None:
                options.pop("name", None)
                self._here = options.get("initial", 0)
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> bool | None:
                self._here += int(n or 0)
                counter._report(counter._done + self._here, counter._total)
                return None

        return Bar


def check_file(path: Path) -> Path:
    """Return a file that must be there; its absence names it."""
    if not path.is_file():
        raise ModelLoadFailed(f"{path.name} is missing from {path.parent}")
    return path
