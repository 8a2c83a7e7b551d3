"""What `helm test` runs: asks an Embedder for an embedding and a ranking until it answers."""

import json
import sys
import time
import urllib.error
import urllib.request


def ask(url: str, body: dict) -> dict:
    """Send one request and read its answer."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def check(base: str) -> str:
    """Embed and rerank once; say what came back."""
    vectors = ask(f"{base}/v1/embeddings", {"model": "default", "input": ["a red fox", "a boat"]})
    width = len(vectors["data"][0]["embedding"])
    ranking = ask(
        f"{base}/rerank", {"query": "red fox", "passages": ["a boat at sea", "the red fox runs"]}
    )
    best = ranking["results"][0]["passage"]
    if best != "the red fox runs":
        raise SystemExit(f"The reranker put {best!r} first.")
    return f"embedded two texts into {width} dimensions; the ranking is right"


def main(base: str, timeout_seconds: float) -> None:
    """Try until the Embedder answers or the time is over."""
    end = time.monotonic() + timeout_seconds
    while True:
        try:
            said = check(base)
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > end:
                raise SystemExit(f"{base} did not answer in time: {error}") from error
            print(f"not yet: {error}", flush=True)
            time.sleep(2)
        else:
            print(f"{base}: {said}")
            return


main(sys.argv[1], float(sys.argv[2]))
