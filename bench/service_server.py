"""The real service process over the null model: `python -m bench.service_server --port 8000`.

The environment is read as `smart-embedder serve` reads it; only the models differ.
"""

import argparse
import os
import sys

import uvloop

from bench.service_model import EMBEDDER, RERANKER, loader
from bench.service_switch import Switch
from smart_embedder.engine import Engine
from smart_embedder.engine_options import engine_options
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.loading import Loader, load
from smart_embedder.serve_command import serve, share_the_cores
from smart_embedder.server import Process
from smart_embedder.settings import Settings, read_settings
from smart_embedder.telemetry.logs import set_up_logs


def serve_switched(settings: Settings, models: Loader) -> int:
    """Serve as `serve` does, with telemetry that can be switched."""
    share_the_cores(os.environ)
    page = set_up_logs(settings)
    lifecycle = Lifecycle()
    telemetry = Switch(settings, lifecycle, page)
    engine = Engine(
        engine_options(settings),
        loader=models,
        observer=telemetry.observer,
        progress=lifecycle.report,
    )
    telemetry.follow(engine)
    return int(uvloop.run(Process(settings, engine, lifecycle, telemetry).run()))


def main() -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pass-seconds", type=float, default=0.0)
    parser.add_argument("--token-seconds", type=float, default=0.0)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--switched", action="store_true")
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
    return (serve_switched if args.switched else serve)(settings, models)


if __name__ == "__main__":
    sys.exit(main())
