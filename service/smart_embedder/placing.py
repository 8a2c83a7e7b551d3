"""From the options to models on devices: find the files, know the family, load it everywhere.

Imported only when an engine starts, because it brings torch.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from huggingface_hub.constants import HF_HOME

from smart_embedder.models import catalog, hub, names
from smart_embedder.models.demo import folders
from smart_embedder.models.model import Model, Output
from smart_embedder.options import EngineOptions, ModelOptions
from smart_embedder.results import Progress, Report
from smart_embedder.runtime.budget import Work, batch_token_budget
from smart_embedder.runtime.devices import Device, resolve, use_threads
from smart_embedder.scheduling.replica import Placed, Replica


def place(options: EngineOptions, report: Report) -> list[Replica]:
    """Load every served model onto every device that is asked for."""
    devices = resolve(options.device, most=options.max_devices)
    use_threads(threads_of(options))
    source = hub.Hub(options.offline, options.hub_endpoint, options.cache_dir)
    replicas: list[dict[str, Placed]] = [{} for _ in devices]
    for model in options.models:
        folder = _folder(model, source, report)
        report(Progress(stage="loading", model=model.name))
        load = catalog.loader(model, folder)
        for device, models in zip(devices, replicas, strict=True):
            models[model.name] = _placed(load(device), device, model.max_batch_tokens)
    return [Replica(str(device), models) for device, models in zip(devices, replicas, strict=True)]


def threads_of(options: EngineOptions) -> int | None:
    """Say how many threads a CPU pass takes, None for what the cores allow.

    One for the demo models: a pass of 14 tokens takes 0.29 ms on one thread and 0.33 on two, and
    the other core is left to the requests (measured on two cores of an EPYC).
    """
    tiny = all(model.name.startswith(folders.PREFIX) for model in options.models)
    return options.threads or (1 if tiny else None)


def _folder(model: ModelOptions, source: hub.Hub, report: Report) -> Path:
    if model.name.startswith(folders.PREFIX):
        return folders.cached(model.name, Path(source.cache_dir or HF_HOME) / "demo")
    wanted = replace(model, name=names.full_name(model.name))
    return hub.find(wanted, source, partial(_downloading, report, model.name))


def _downloading(report: Report, model: str, done: int, total: int) -> None:
    report(Progress(stage="downloading", model=model, done=done, total=total))


def _placed(model: Model, device: Device, most: int | None) -> Placed:
    work: Work = "rerank" if Output.SCORE in model.card.outputs else "embed"
    budget = batch_token_budget(device, model.card.max_tokens, work=work)
    return Placed(model, min(budget, most or budget))
