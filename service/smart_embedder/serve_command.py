"""`smart-embedder serve`: from flags and environment to a running service.

Run by hand without saying which models, it asks; run by anything else, it never does.
"""

import argparse
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

from smart_embedder import last_words
from smart_embedder.environment import InvalidSettings
from smart_embedder.loading import Loader, load
from smart_embedder.settings import Settings, read_settings

_MODELS = {
    "dense": {"bge": "BAAI/bge-m3", "qwen": "Qwen/Qwen3-Embedding-0.6B"},
    "reranker": {"bge": "BAAI/bge-reranker-v2-m3", "qwen": "Qwen/Qwen3-Reranker-0.6B"},
}
_VARIABLES = {"dense": "dense_embedding_model", "reranker": "reranker_model"}
_OTHER_WORDS = {"host": ["--hostname"], "model_device": ["--device"]}
_QUESTIONS = {"dense": "Dense vectors from", "reranker": "Reranker"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "serve", help="start the service", usage="%(prog)s [flag ...]", allow_abbrev=False
    )
    parser.add_argument("--dense", choices=_MODELS["dense"], help="dense vectors from BGE or Qwen")
    parser.add_argument("--reranker", choices=_MODELS["reranker"], help="rerank with BGE or Qwen")
    settings = parser.add_argument_group("settings", "each is a variable too; a flag wins over it")
    for name, field in Settings.model_fields.items():
        if name.startswith("hf_"):  # the hub's own library reads the variable
            continue
        flag = settings.add_argument(
            f"--{name.replace('_', '-')}",
            *_OTHER_WORDS.get(name, ()),
            metavar=name.upper(),
            help=(field.description or "").replace("%", "%%"),
        )
        if field.annotation is bool:
            flag.nargs, flag.const = "?", "true"  # a switch may stand alone
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, err: TextIO = sys.stderr) -> int:
    """Serve until a signal; the exit code says how it ended."""
    try:
        flags = _flags(args)
        if sys.stdin.isatty():
            flags |= asked(read_settings(**flags), input)
        settings = read_settings(**flags, **careful(read_settings(**flags)))
    except InvalidSettings as error:
        err.write(f"{error.message}\n")
        last_words.leave(error)
        return 2
    # The allocator reads it when torch is imported, which happens after this line.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    err.write(greeting(settings))
    return serve(settings)


def serve(settings: Settings, loader: Loader = load) -> int:
    """Serve until a signal, with the models that the loader gives."""
    import uvloop  # noqa: PLC0415 - other commands run without the service's libraries

    from smart_embedder.engine import Engine  # noqa: PLC0415 - as above
    from smart_embedder.engine_options import engine_options  # noqa: PLC0415 - as above
    from smart_embedder.lifecycle import Lifecycle  # noqa: PLC0415 - as above
    from smart_embedder.server import Process  # noqa: PLC0415 - as above
    from smart_embedder.telemetry.logs import set_up_logs  # noqa: PLC0415 - as above
    from smart_embedder.telemetry.telemetry import Telemetry  # noqa: PLC0415 - as above
    from smart_embedder.telemetry.tracing import set_up_tracing  # noqa: PLC0415 - as above

    share_the_cores(os.environ)
    page = set_up_logs(settings)
    lifecycle = Lifecycle()
    telemetry = Telemetry(settings, lifecycle, set_up_tracing(settings), page)
    engine = Engine(
        engine_options(settings),
        loader=loader,
        observer=telemetry.observer,
        progress=lifecycle.report,
    )
    telemetry.follow(engine)
    try:
        return int(uvloop.run(Process(settings, engine, lifecycle, telemetry).run()))
    finally:
        telemetry.close()
        page.flush()


def share_the_cores(environ: MutableMapping[str, str]) -> None:
    """Let a pass's threads spin for a tenth of a millisecond, then sleep, unless told otherwise.

    libgomp reads it when torch is imported. By itself it spins for some 10 ms: between the products
    of one pass that saves a wake-up, but between passes it takes a core from the event loop, and on
    a busy machine from the very thread it waits for (measured there: 10 texts a second, and 70 so).
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", "5000")


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    flags = {name: getattr(args, name, None) for name in Settings.model_fields}
    for kind, variable in _VARIABLES.items():
        if chosen := getattr(args, kind):
            flags[variable] = _MODELS[kind][chosen]
    return {name: value for name, value in flags.items() if value is not None}


def careful(settings: Settings) -> dict[str, int]:
    """Bound Qwen's reranker on a CPU, where its longest pairs take minutes, unless somebody did."""
    if settings.model_device != "cpu" or settings.reranker_model != _MODELS["reranker"]["qwen"]:
        return {}
    bounds = {"qwen_rerank_batch_size": 1, "qwen_rerank_max_length": 2048}
    return {name: value for name, value in bounds.items() if name not in settings.model_fields_set}


def asked(settings: Settings, ask: Callable[[str], str]) -> dict[str, str]:
    """Ask which models to serve, where nobody has said anything about any of them."""
    said = {"embedding_model", "model_id", "models", "model_name", *_VARIABLES.values()}
    if settings.model_fields_set & said:
        return {}
    return {variable: _choose(kind, ask) for kind, variable in _VARIABLES.items()}


def _choose(kind: str, ask: Callable[[str], str]) -> str:
    choices = _MODELS[kind]
    while True:
        answer = ask(f"{_QUESTIONS[kind]} [bge/qwen, Enter for bge]: ").strip().lower()
        if answer in ("", *choices):
            return choices[answer or "bge"]


def greeting(settings: Settings) -> str:
    """Say what to type next, when the models are the demo ones that answer at once."""
    if not settings.embedding_model.startswith("demo/"):
        return ""
    return (
        "Once it is ready, try:\n\n"
        f"  curl http://{settings.host}:{settings.port}/embeddings/"
        " -H 'Content-Type: application/json' \\\n"
        """    -d '{"sentences": ["Hello world!"], "return_sparse": true}'\n\n"""
    )
