"""The real service process over the null model: `python -m bench.service_server --port 8000`.

The environment is read as `smart-embedder serve` reads it; only the models differ.
"""

import argparse
import sys

import uvloop
from litestar.types import ASGIApp

from bench.service_model import EMBEDDER, RERANKER, loader
from smart_embedder.api.operations import Unmetered
from smart_embedder.engine import Engine
from smart_embedder.engine_options import engine_options
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.loading import Loader, load
from smart_embedder.serve_command import serve
from smart_embedder.server import Process
from smart_embedder.settings import Settings, read_settings


class Unwatched(Unmetered):
    """Telemetry that is not there, to measure what it costs."""

    def around(self, app: ASGIApp) -> ASGIApp:
        """Leave the application as it is."""
        return app


def serve_bare(settings: Settings, models: Loader) -> int:
    """Serve as `serve` does, without metrics, logs and traces."""
    lifecycle = Lifecycle()
    engine = Engine(engine_options(settings), loader=models, progress=lifecycle.report)
    return int(uvloop.run(Process(settings, engine, lifecycle, Unwatched()).run()))


def main() -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pass-seconds", type=float, default=0.0)
    parser.add_argument("--token-seconds", type=float, default=0.0)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--model", help="a real embedding model in place of the null one")
    args = parser.parse_args()
    null = loader(
        pass_seconds=args.pass_seconds,
        token_seconds=args.token_seconds,
        batch_tokens=args.batch_tokens,
    )
    embedder, reranker, models = EMBEDDER, RERANKER, null
    if args.model:
        embedder, reranker, models = args.model, "none", load
    settings = read_settings(
        host="127.0.0.1", port=args.port, embedding_model=embedder, reranker_model=reranker
    )
    return serve_bare(settings, models) if args.bare else serve(settings, models)


if __name__ == "__main__":
    sys.exit(main())
