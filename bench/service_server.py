"""The real service process over the null model: `python -m bench.service_server --port 8000`.

The environment is read as `smart-embedder serve` reads it; only the models differ.
"""

import argparse
import sys

from bench.service_model import EMBEDDER, RERANKER, loader
from smart_embedder.serve_command import serve
from smart_embedder.settings import read_settings


def main() -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pass-seconds", type=float, default=0.0)
    parser.add_argument("--token-seconds", type=float, default=0.0)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    args = parser.parse_args()
    settings = read_settings(
        host="127.0.0.1", port=args.port, embedding_model=EMBEDDER, reranker_model=RERANKER
    )
    models = loader(
        pass_seconds=args.pass_seconds,
        token_seconds=args.token_seconds,
        batch_tokens=args.batch_tokens,
    )
    return serve(settings, models)


if __name__ == "__main__":
    sys.exit(main())
