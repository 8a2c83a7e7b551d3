"""The server of llama.cpp: `/embedding`, `/embeddings` with `content`, `/reranking`, `/tokenize`.

Scores are raw logits, as that server gives them. `embd_normalize` is its own number: -1 leaves the
vector as the model gives it, 0 scales its largest component to 32,760 (an int16), 1, 2 and more
divide by that norm. A full queue is 503 here.
"""

from functools import partial
from typing import Annotated, Any, Self

import msgspec
import numpy as np

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import Matrix, numbers
from smart_embedder.api.inputs import AtLeastZero, Inputs, check_count, texts_of
from smart_embedder.api.ranking import best_first
from smart_embedder.errors import Overloaded
from smart_embedder.models.model import Floats
from smart_embedder.results import Ranking
from smart_embedder.scheduling.observer import Kind


class LlamaErrorDetail(msgspec.Struct):
    """What went wrong."""

    code: int
    message: str
    type: str


class LlamaError(msgspec.Struct):
    """The error body that its clients parse."""

    error: LlamaErrorDetail

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        named = {401: "authentication_error", 404: "not_found_error", 503: "unavailable_error"}
        other = "server_error" if problem.status >= 500 else "invalid_request_error"
        kind = named.get(problem.status, other)
        return cls(LlamaErrorDetail(problem.status, problem.sentence, kind))


_TINY = np.finfo(np.float32).tiny

LLAMACPP = Dialect(name="llama.cpp", error=LlamaError, statuses={Overloaded: 503})


class LlamaEmbedOptions(msgspec.Struct, kw_only=True):
    """What a request may say beside its texts."""

    embd_normalize: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = 2
    """A C int over there."""
    model: str | None = None


class LlamaContentRequest(LlamaEmbedOptions):
    """Texts to embed."""

    content: Inputs


class LlamaInputRequest(LlamaEmbedOptions):
    """The same under the newer name."""

    input: Inputs


class LlamaEmbedding(msgspec.Struct):
    """One text's vector, as the only row of a matrix."""

    index: int
    embedding: Matrix


class LlamaRerankOptions(msgspec.Struct, kw_only=True):
    """What is ranked for, and how much of the ranking is wanted."""

    query: str
    top_n: AtLeastZero | None = None
    model: str | None = None
    instruction: str | None = None


class LlamaDocumentsRequest(LlamaRerankOptions):
    """Documents to rank, in Jina's words."""

    documents: list[str]


class LlamaTextsRequest(LlamaRerankOptions):
    """Texts to rank, in TEI's words."""

    texts: list[str]
    return_text: bool = False


class LlamaRank(msgspec.Struct):
    """One document's logit."""

    index: int
    relevance_score: float


class LlamaTextRank(msgspec.Struct, omit_defaults=True):
    """One text's logit, for a request that says `texts`."""

    index: int
    score: float
    text: str | None = None


class LlamaUsage(msgspec.Struct):
    """What was read."""

    prompt_tokens: int
    total_tokens: int


class LlamaRanking(msgspec.Struct, tag_field="object", tag="list"):
    """The ranking, best first."""

    model: str
    usage: LlamaUsage
    results: list[LlamaRank]


class LlamaTokenizeRequest(msgspec.Struct):
    """A text to tokenize."""

    content: str
    add_special: bool = False
    with_pieces: bool = False


class LlamaPiece(msgspec.Struct):
    """One token and its text."""

    id: int
    piece: str


class LlamaTokens(msgspec.Struct):
    """The tokens of a text."""

    tokens: list[int | LlamaPiece]


class LlamaDetokenizeRequest(msgspec.Struct):
    """Token ids to turn back into text."""

    tokens: list[int]


class LlamaContent(msgspec.Struct):
    """A text."""

    content: str


async def embed_content(body: LlamaContentRequest, call: Call) -> list[LlamaEmbedding]:
    """Answer POST /embedding and /embeddings with `content`."""
    return await _embed(body.content, "content", body, call)


async def embed_input(body: LlamaInputRequest, call: Call) -> list[LlamaEmbedding]:
    """Answer POST /embedding with `input`, and /embeddings where OpenAI's is not meant."""
    return await _embed(body.input, "input", body, call)


async def _embed(
    given: Inputs, field: str, body: LlamaEmbedOptions, call: Call
) -> list[LlamaEmbedding]:
    texts = texts_of(given, field)
    check_count(texts, call.settings.max_batch_size, field)
    found = await call.embed(
        texts, field=field, model=body.model, normalize=body.embd_normalize == 2
    )
    rows = scaled(found.dense_rows, body.embd_normalize)
    return [LlamaEmbedding(index, numbers(row[None])) for index, row in enumerate(rows)]


async def rerank_documents(body: LlamaDocumentsRequest, call: Call) -> LlamaRanking:
    """Answer POST /reranking with `documents`."""
    found = await _rerank(body, body.documents, "documents", call)
    tokens = sum(found.tokens)
    return LlamaRanking(
        found.card.name,
        LlamaUsage(tokens, tokens),
        [LlamaRank(rank.index, rank.score) for rank in best_first(found, body.top_n)],
    )


async def rerank_texts(body: LlamaTextsRequest, call: Call) -> list[LlamaTextRank]:
    """Answer POST /reranking with `texts`."""
    found = await _rerank(body, body.texts, "texts", call)
    return [
        LlamaTextRank(rank.index, rank.score, body.texts[rank.index] if body.return_text else None)
        for rank in best_first(found, body.top_n)
    ]


async def _rerank(body: LlamaRerankOptions, passages: list[str], field: str, call: Call) -> Ranking:
    check_count(passages, call.settings.max_documents, field)
    return await call.rerank(
        body.query,
        passages,
        field=field,
        model=body.model,
        normalize=False,
        instruction=body.instruction,
    )


async def tokenize(body: LlamaTokenizeRequest, call: Call) -> LlamaTokens:
    """Answer POST /tokenize with `content`."""
    [pieces] = await call.engine.tokenize([body.content], special=body.add_special)
    if body.with_pieces:
        return LlamaTokens([LlamaPiece(piece.id, piece.text) for piece in pieces])
    return LlamaTokens([piece.id for piece in pieces])


async def detokenize(body: LlamaDetokenizeRequest, call: Call) -> LlamaContent:
    """Answer POST /detokenize."""
    return LlamaContent(await call.engine.decode(body.tokens))


def scaled(rows: Floats, norm: int) -> Floats:
    """Normalise raw vectors as `embd_normalize` says."""
    if norm in (-1, 2):  # left alone, or of length one already
        return rows
    # Of length one in the largest norm first, so that no power runs out of a float's range.
    largest: Floats = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), _TINY)
    if norm == 0:
        return largest * np.float32(32760)
    lengths = np.linalg.norm(largest, ord=float(norm), axis=1, keepdims=True)
    found: Floats = largest / np.maximum(lengths, _TINY)
    return found


def _post(
    path: str,
    handle: Any,
    body: Any,
    answer: Any,
    summary: str,
    *keys: str,
    kind: Kind | None = Kind.EMBED,
) -> Endpoint:
    return Endpoint(
        dialect=LLAMACPP,
        paths=(path,),
        handle=handle,
        kind=kind,
        body=body,
        answer=answer,
        summary=summary,
        keys=frozenset(keys),
    )


_ranks, _reads = partial(_post, kind=Kind.RERANK), partial(_post, kind=None)


_CONTENT = (embed_content, LlamaContentRequest, list[LlamaEmbedding], "Embed texts", "content")
_INPUT = (embed_input, LlamaInputRequest, list[LlamaEmbedding], "Embed texts", "input")
_DOCUMENTS = (rerank_documents, LlamaDocumentsRequest, LlamaRanking, "Rank documents", "documents")
_TEXTS = (rerank_texts, LlamaTextsRequest, list[LlamaTextRank], "Rank texts", "texts")

ENDPOINTS: tuple[Endpoint, ...] = (
    _post("/embedding", *_CONTENT),
    _post("/embedding", *_INPUT),
    _post("/embeddings", *_CONTENT),
    _post("/embeddings", *_INPUT, "embd_normalize"),
    _ranks("/reranking", *_DOCUMENTS),
    _ranks("/reranking", *_TEXTS),
    _ranks("/v1/reranking", *_DOCUMENTS),
    _ranks("/v1/reranking", *_TEXTS),
    _reads("/tokenize", tokenize, LlamaTokenizeRequest, LlamaTokens, "Tokenize a text", "content"),
    _reads("/detokenize", detokenize, LlamaDetokenizeRequest, LlamaContent, "Ids into text"),
)
