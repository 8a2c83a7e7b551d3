"""Reranking as Cohere (v1, v2), Jina and those after them speak it: `documents` in, indices out.

The answer is the union of what their clients read. Whether the documents come back, and how, goes
by the path unless the request says so:

- `/rerank` echoes each as a plain string;
- `/v1/rerank` echoes `{"text": …}`, Jina's default and harmless to Cohere's clients;
- `/v2/rerank` echoes nothing.
"""

import functools
import uuid
from dataclasses import dataclass

import msgspec

from smart_embedder.api.call import Call
from smart_embedder.api.cohere import (
    COHERE,
    ApiVersion,
    BilledUnits,
    InputTokens,
    Meta,
    Version,
    warning,
)
from smart_embedder.api.dialect import Endpoint
from smart_embedder.api.inputs import AtLeastOne, AtLeastZero, check_count
from smart_embedder.api.ranking import best_first
from smart_embedder.models.model import Output
from smart_embedder.scheduling.observer import Kind


class Document(msgspec.Struct):
    """A document in its long form; what else it holds is not read."""

    text: str


class TemplateOptions(msgspec.Struct):
    """Where vLLM's clients put the instruction."""

    instruction: str | None = None


class RerankRequest(msgspec.Struct):
    """Documents to rank for a query; `top_n` 0 is all of them, as vLLM's clients say it."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: AtLeastZero | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: AtLeastOne | None = None
    instruction: str | None = None
    instruct: str | None = None
    chat_template_kwargs: TemplateOptions | None = None

    @property
    def texts(self) -> list[str]:
        """The documents without their wrapping."""
        return [item if isinstance(item, str) else item.text for item in self.documents]

    @property
    def task(self) -> str | None:
        """The instruction, wherever this client puts it."""
        template = self.chat_template_kwargs or TemplateOptions()
        return self.instruction or self.instruct or template.instruction


class RerankResult(msgspec.Struct, omit_defaults=True):
    """One document's place and score."""

    index: int
    relevance_score: float
    document: str | Document | None = None


class RerankUsage(msgspec.Struct):
    """What was read."""

    prompt_tokens: int
    total_tokens: int


class RerankResponse(msgspec.Struct, tag_field="object", tag="list"):
    """The ranking, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: Meta


@dataclass(frozen=True, slots=True)
class Echo:
    """How a path gives documents back."""

    version: Version
    default: bool
    plain: bool = False

    def document(self, text: str) -> str | Document:
        """Shape one document."""
        return text if self.plain else Document(text)


async def rerank(body: RerankRequest, call: Call, *, echo: Echo) -> RerankResponse:
    """Answer POST /rerank with `documents`, /v1/rerank and /v2/rerank."""
    check_count(body.documents, call.settings.max_documents, "documents")
    texts = body.texts
    if body.max_tokens_per_doc is not None:
        texts = await _shortened(texts, body.max_tokens_per_doc, body.model, call)
    found = await call.rerank(
        body.query, texts, field="documents", model=body.model, instruction=body.task
    )
    wanted = echo.default if body.return_documents is None else body.return_documents
    documents = body.texts if wanted else None
    tokens = sum(found.tokens)
    return RerankResponse(
        id=str(uuid.uuid4()),
        model=found.card.name,
        results=[
            RerankResult(
                rank.index,
                rank.score,
                None if documents is None else echo.document(documents[rank.index]),
            )
            for rank in best_first(found, body.top_n)
        ],
        usage=RerankUsage(tokens, tokens),
        meta=Meta(
            ApiVersion(echo.version),
            BilledUnits(search_units=1),
            InputTokens(tokens),
            [warning(cut, "documents") for cut in found.truncations],
        ),
    )


async def _shortened(texts: list[str], limit: int, model: str | None, call: Call) -> list[str]:
    """Cut each document to its first `limit` tokens; the query keeps its own."""
    name = call.engine.lookup(model, Output.SCORE).name
    pieces = await call.engine.tokenize(texts, model=name, special=False)
    return [
        text if len(found) <= limit else text[: found[limit - 1].stop]
        for text, found in zip(texts, pieces, strict=True)
    ]


def _endpoint(path: str, echo: Echo) -> Endpoint:
    return Endpoint(
        dialect=COHERE,
        paths=(path,),
        handle=functools.partial(rerank, echo=echo),
        kind=Kind.RERANK,
        body=RerankRequest,
        answer=RerankResponse,
        keys=frozenset({"documents"}),
        summary="Rank documents",
    )


ENDPOINTS = (
    _endpoint("/rerank", Echo("1", default=True, plain=True)),
    _endpoint("/v1/rerank", Echo("1", default=True)),
    _endpoint("/v2/rerank", Echo("2", default=False)),
)
