"""The native format: dense, sparse and ColBERT vectors of sentences in one call, and reranking.

Long texts are cut and told of in `warnings`. A full queue is waited for a moment
(ACQUIRE_TIMEOUT) before the answer is 503, as clients of this format expect.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import (
    MatrixOrBase64,
    SparseWeights,
    Vector,
    VectorOrBase64,
    base64_floats,
    numbers,
    weights,
)
from smart_embedder.api.ranking import best_first
from smart_embedder.errors import InvalidInput, Overloaded
from smart_embedder.models.model import Output, Side
from smart_embedder.results import Embeddings, Sparse, TextTruncation
from smart_embedder.scheduling.observer import Kind


class NativeError(msgspec.Struct, omit_defaults=True):
    """What went wrong; `code` is stable."""

    detail: str
    code: str
    field: str | None = None
    limit: float | str | None = None
    value: float | str | None = None

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        value = problem.value if isinstance(problem.value, int | float | str) else None
        return cls(problem.message, problem.code, problem.field, problem.limit, value)


NATIVE = Dialect(name="native", error=NativeError, statuses={Overloaded: 503, InvalidInput: 422})


class NativeEmbedRequest(msgspec.Struct):
    """Sentences, and what to turn them into."""

    sentences: list[str]
    return_dense: bool = True
    return_sparse: bool = False
    return_colbert: bool = False
    normalize_dense: bool = False
    sparse_as_indices: bool = False
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    truncation_side: Side = "end"
    instruction: str | None = None
    encoding_format: Literal["float", "base64"] = "float"


class QdrantSparse(msgspec.Struct):
    """Lexical weights as Qdrant's SparseVector takes them; indices ascend."""

    indices: Vector
    values: Vector


class NativeVectors(msgspec.Struct, omit_defaults=True):
    """The outputs that were asked for."""

    dense: VectorOrBase64 | UnsetType = UNSET
    sparse: SparseWeights | QdrantSparse | UnsetType = UNSET
    colbert: MatrixOrBase64 | UnsetType = UNSET


class NativeItem(msgspec.Struct):
    """One sentence."""

    id: int
    text: str
    embeddings: NativeVectors


class Target(msgspec.Struct):
    """What a warning is about."""

    field: str
    index: int | None
    pointer: str


class TruncationDetails(msgspec.Struct):
    """By how much a text was too long."""

    model: str
    max_tokens: int
    original_tokens: int
    truncated_tokens: int
    truncation_side: Side


class Warning(msgspec.Struct):  # noqa: A001 - the word of the format, seen only in its schema
    """Something the caller should know of an answer that is good."""

    code: Literal["input_truncated", "query_truncated", "passage_truncated"]
    severity: Literal["warning"]
    message: str
    target: Target
    details: TruncationDetails


class NativeEmbeddings(msgspec.Struct):
    """The vectors, in the order of the sentences."""

    data: list[NativeItem]
    model_name: str | None
    dense_model_name: str | None
    sparse_model_name: str | None
    colbert_model_name: str | None
    processing_time_ms: float
    warnings: list[Warning]


class NativeRerankRequest(msgspec.Struct):
    """A query and the passages to rank for it."""

    query: str
    passages: list[str]
    normalize: bool = True
    top_n: Annotated[int, Meta(ge=1)] | None = None
    instruction: str | None = None


class NativeResult(msgspec.Struct):
    """One passage's score and its place in the request."""

    index: int
    passage: str
    score: float


class NativeRanking(msgspec.Struct):
    """The passages, best first."""

    results: list[NativeResult]
    model_name: str
    processing_time_ms: float
    warnings: list[Warning]


async def embed(body: NativeEmbedRequest, call: Call) -> NativeEmbeddings:
    """Answer POST /embeddings/.

    `normalize_dense: false` leaves it to the model's own recipe, which for both default models is
    a unit vector; true makes it one whatever the recipe.
    """
    found = await call.embed(
        body.sentences,
        field="sentences",
        dense=body.return_dense,
        sparse=body.return_sparse,
        colbert=body.return_colbert,
        normalize=True if body.normalize_dense else None,
        dimensions=body.dimensions,
        truncation_side=body.truncation_side,
        prompt=body.instruction if body.instruction is not None else call.settings.default_prompt,
        wait_seconds=call.settings.acquire_timeout,
    )
    return NativeEmbeddings(
        data=[
            NativeItem(index, text, _vectors(found, index, body))
            for index, text in enumerate(body.sentences)
        ],
        model_name=call.name_of(Output.DENSE),
        dense_model_name=call.name_of(Output.DENSE),
        sparse_model_name=call.name_of(Output.SPARSE),
        colbert_model_name=call.name_of(Output.COLBERT),
        processing_time_ms=call.elapsed_ms,
        warnings=[_warning(cut, "sentences") for cut in found.truncations],
    )


async def rerank(body: NativeRerankRequest, call: Call) -> NativeRanking:
    """Answer POST /rerank with `passages`."""
    found = await call.rerank(
        body.query,
        body.passages,
        field="passages",
        normalize=body.normalize,
        instruction=body.instruction,
        wait_seconds=call.settings.acquire_timeout,
    )
    return NativeRanking(
        results=[
            NativeResult(ranked.index, body.passages[ranked.index], ranked.score)
            for ranked in best_first(found, body.top_n)
        ],
        model_name=found.card.name,
        processing_time_ms=call.elapsed_ms,
        warnings=_rerank_warnings(found.truncations),
    )


def _vectors(found: Embeddings, index: int, body: NativeEmbedRequest) -> NativeVectors:
    packed = body.encoding_format == "base64"
    vectors = NativeVectors()
    if found.dense is not None:
        row = found.dense[index]
        vectors.dense = base64_floats(row) if packed else numbers(row)
    if found.sparse is not None:
        vectors.sparse = _sparse(found.sparse[index], as_indices=body.sparse_as_indices)
    if found.colbert is not None:
        rows = found.colbert[index]
        vectors.colbert = [base64_floats(row) for row in rows] if packed else numbers(rows)
    return vectors


def _sparse(sparse: Sparse, *, as_indices: bool) -> msgspec.Raw | QdrantSparse:
    if as_indices:
        return QdrantSparse(numbers(sparse.ids), numbers(sparse.weights))
    return weights(sparse.ids, sparse.weights)


def _warning(cut: TextTruncation, field: str) -> Warning:
    name = "input" if cut.part == "text" else cut.part
    of_query = cut.part == "query"
    return Warning(
        code=f"{name}_truncated",  # type: ignore[arg-type]  # the three parts make the three codes
        severity="warning",
        message=f"{name.capitalize()} text was truncated to the model token limit.",
        target=Target(
            field="query" if of_query else field,
            index=None if of_query else cut.index,
            pointer="/query" if of_query else f"/{field}/{cut.index}",
        ),
        details=TruncationDetails(
            model=cut.model,
            max_tokens=cut.kept,
            original_tokens=cut.original,
            truncated_tokens=cut.original - cut.kept,
            truncation_side=cut.side,
        ),
    )


def _rerank_warnings(cuts: Sequence[TextTruncation]) -> list[Warning]:
    """Tell of each passage, and of the query once though every pair holds it."""
    of_query = [cut for cut in cuts if cut.part == "query"][:1]
    of_passages = [cut for cut in cuts if cut.part != "query"]
    return [_warning(cut, "passages") for cut in (*of_query, *of_passages)]


ENDPOINTS = (
    Endpoint(
        dialect=NATIVE,
        paths=("/embeddings",),
        keys=frozenset({"sentences"}),
        handle=embed,
        kind=Kind.EMBED,
        body=NativeEmbedRequest,
        answer=NativeEmbeddings,
        summary="Dense, sparse and ColBERT vectors of sentences",
    ),
    Endpoint(
        dialect=NATIVE,
        paths=("/rerank",),
        keys=frozenset({"passages"}),
        handle=rerank,
        kind=Kind.RERANK,
        body=NativeRerankRequest,
        answer=NativeRanking,
        summary="Rank passages for a query",
    ),
)
