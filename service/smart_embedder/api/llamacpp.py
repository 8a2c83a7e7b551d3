"""The server of llama.cpp: `/embedding`, `/embeddings` with `content`, `/reranking`, `/tokenize`.

Scores are raw logits, as that server gives them. `embd_normalize` is its own number: -1 leaves the
vector as the model gives it, 0 scales its largest component to 32,760 (an int16), 1, 2 and more
divide by that norm. A full queue is 503 here.
"""

from typing import Annotated, Any, Self

import msgspec
import numpy as np

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import Matrix, numbers
from smart_embedder.api.inputs import AtLeastZero, Inputs, check_count, texts_of
from smart_embedder.api.ranking import best_first
from smart_embedder.errors import InvalidInput, Overloaded
from smart_embedder.models.model import Floats


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


LLAMACPP = Dialect(name="llama.cpp", error=LlamaError, statuses={Overloaded: 503})


class LlamaEmbedRequest(msgspec.Struct):
    """Texts to embed, under either of two names."""

    content: Inputs | None = None
    input: Inputs | None = None
    embd_normalize: Annotated[int, msgspec.Meta(ge=-1)] = 2
    model: str | None = None


class LlamaEmbedding(msgspec.Struct):
    """One text's vector, as the only row of a matrix."""

    index: int
    embedding: Matrix


class LlamaRerankRequest(msgspec.Struct):
    """Documents to rank for a query."""

    query: str
    documents: list[str] | None = None
    texts: list[str] | None = None
    top_n: AtLeastZero | None = None
    return_text: bool = False
    model: str | None = None
    instruction: str | None = None


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


async def embed(body: LlamaEmbedRequest, call: Call) -> list[LlamaEmbedding]:
    """Answer POST /embedding, and /embeddings where the body is llama.cpp's."""
    if (body.content is None) == (body.input is None):
        raise InvalidInput("give exactly one of content and input", field="content")
    field, given = ("content", body.content) if body.content is not None else ("input", body.input)
    assert given is not None  # noqa: S101 - one of the two is there
    texts = texts_of(given, field)
    check_count(texts, call.settings.max_batch_size, field)
    found = await call.embed(
        texts, field=field, model=body.model, normalize=body.embd_normalize == 2
    )
    rows = scaled(found.dense_rows, body.embd_normalize)
    return [LlamaEmbedding(index, numbers(row[None])) for index, row in enumerate(rows)]


async def rerank(body: LlamaRerankRequest, call: Call) -> LlamaRanking | list[LlamaTextRank]:
    """Answer POST /reranking; `texts` get TEI's list, `documents` Jina's object."""
    if (body.documents is None) == (body.texts is None):
        raise InvalidInput("give exactly one of documents and texts", field="documents")
    field = "texts" if body.documents is None else "documents"
    passages = body.documents or body.texts or []
    check_count(passages, call.settings.max_documents, field)
    found = await call.rerank(
        body.query,
        passages,
        field=field,
        model=body.model,
        normalize=False,
        instruction=body.instruction,
    )
    ranks, tokens = best_first(found, body.top_n), sum(found.tokens)
    if body.documents is None:
        return [
            LlamaTextRank(
                rank.index, rank.score, passages[rank.index] if body.return_text else None
            )
            for rank in ranks
        ]
    return LlamaRanking(
        found.card.name,
        LlamaUsage(tokens, tokens),
        [LlamaRank(rank.index, rank.score) for rank in ranks],
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
    order = np.inf if norm == 0 else norm
    lengths = np.linalg.norm(rows, ord=order, axis=1, keepdims=True)
    if norm == 0:
        lengths /= 32760
    found: Floats = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def _post(path: str, handle: Any, body: Any, answer: Any, summary: str, *keys: str) -> Endpoint:
    return Endpoint(
        dialect=LLAMACPP,
        paths=(path,),
        handle=handle,
        body=body,
        answer=answer,
        summary=summary,
        keys=frozenset(keys),
    )


_EMBED = (embed, LlamaEmbedRequest, list[LlamaEmbedding], "Embed texts")
_RERANK = (rerank, LlamaRerankRequest, LlamaRanking | list[LlamaTextRank], "Rank documents")

ENDPOINTS: tuple[Endpoint, ...] = (
    _post("/embedding", *_EMBED),
    _post("/embeddings", *_EMBED, "content"),
    _post("/embeddings", *_EMBED, "input", "embd_normalize"),
    _post("/reranking", *_RERANK),
    _post("/v1/reranking", *_RERANK),
    _post("/tokenize", tokenize, LlamaTokenizeRequest, LlamaTokens, "Tokenize a text", "content"),
    _post("/detokenize", detokenize, LlamaDetokenizeRequest, LlamaContent, "Ids into text"),
)
