"""The server under test, as the checks see it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from smart_embedder.client import Answer, Connection, Target

QUERY = "What is machine learning?"
PASSAGES = [
    "Machine learning lets a program learn from examples.",
    "It rained all day in the valley.",
    "A neural network is trained on many samples.",
]
TEXTS = ["Hello world!", "Ciao mondo!"]


class CheckFailed(Exception):
    """The server did something else than it should; the message says what."""


class NotServed(Exception):
    """The server does not hold the model that the check needs."""


def expect(condition: object, seen: str) -> None:
    """Fail the check with what was seen."""
    if not condition:
        raise CheckFailed(seen)


@dataclass(frozen=True, slots=True)
class Server:
    """One connection to it, and the few requests that many checks share."""

    target: Target
    connection: Connection

    def get(self, path: str, *, status: int = 200) -> Answer:
        """Ask for a page and hold the status."""
        return _expected(self.connection.get(path), status)

    def post(self, path: str, body: object, *, status: int = 200) -> Any:
        """Send JSON, hold the status, decode the answer."""
        return _expected(self.connection.post(path, body), status).json()

    def embed(self, sentences: Sequence[str] = TEXTS, **options: bool) -> list[dict[str, Any]]:
        """The `embeddings` objects of the native dialect, one a sentence."""
        body = self.post("/embeddings/", {"sentences": list(sentences), **options})
        return [item["embeddings"] for item in body["data"]]

    def rerank(self, **options: object) -> list[dict[str, Any]]:
        """The results of the native dialect."""
        body = self.post("/rerank", {"query": QUERY, "passages": PASSAGES, **options})
        results: list[dict[str, Any]] = body["results"]
        return results


Check = Callable[[Server], str]


def _expected(answer: Answer, status: int) -> Answer:
    seen = f"status {answer.status} instead of {status}: {answer.body[:160]!r}"
    if answer.status == 404 != status and b"model_not_found" in answer.body:
        raise NotServed(seen)
    expect(answer.status == status, seen)
    return answer


def length(vector: Sequence[float]) -> float:
    """The Euclidean length."""
    return math.sqrt(sum(value * value for value in vector))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (length(one) * length(other))
