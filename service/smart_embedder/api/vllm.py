"""vLLM's pooling endpoints, as far as these models have them.

`/score` scores pairs with the reranker: one query for many documents, or as many of each.
`/pooling` gives dense vectors (`embed`), ColBERT vectors (`token_embed`) or the lexical weight of
each token where it stands, without the first and the last (`token_classify`). `/tokenize` takes
`prompt`.
"""

import functools
import itertools
import time
import uuid
from collections.abc import Iterable
from typing import Annotated, Literal, Self

import msgspec

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import Matrix, Vector, numbers
from smart_embedder.api.inputs import AtLeastOne, Inputs, check_count, texts_of
from smart_embedder.api.ranking import rank_pairs
from smart_embedder.errors import EmptyInput, InvalidInput
from smart_embedder.results import Embeddings
from smart_embedder.scheduling.observer import Kind

OneOrMany = str | list[str]


class VllmErrorDetail(msgspec.Struct):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: int


class VllmError(msgspec.Struct):
    """The error body that vLLM's clients parse."""

    error: VllmErrorDetail

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        named = {401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError"}
        other = "InternalServerError" if problem.status >= 500 else "BadRequestError"
        kind = named.get(problem.status, other)
        return cls(VllmErrorDetail(problem.sentence, kind, problem.field, problem.status))


VLLM = Dialect(name="vLLM", error=VllmError)


class VllmUsage(msgspec.Struct):
    """What was read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class ScoreRequest(msgspec.Struct):
    """Pairs to score; each side has had several names."""

    queries: OneOrMany | None = None
    data_1: OneOrMany | None = None
    text_1: OneOrMany | None = None
    documents: OneOrMany | None = None
    items: OneOrMany | None = None
    data_2: OneOrMany | None = None
    text_2: OneOrMany | None = None
    model: str | None = None
    truncate_prompt_tokens: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    use_activation: bool | None = None
    instruction: str | None = None


class Score(msgspec.Struct, tag_field="object", tag="score"):
    """One pair's score."""

    index: int
    score: float


class ScoreResponse(msgspec.Struct, tag_field="object", tag="list"):
    """The scores, in the order of the pairs."""

    id: str
    created: int
    model: str
    data: list[Score]
    usage: VllmUsage


class PoolingRequest(msgspec.Struct):
    """Texts to pool."""

    input: Inputs
    task: Literal["embed", "token_embed", "token_classify"] = "embed"
    model: str | None = None
    dimensions: AtLeastOne | None = None
    truncate_prompt_tokens: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    use_activation: bool | None = None


class Pooled(msgspec.Struct, tag_field="object", tag="pooling"):
    """One text's numbers: a vector, or a row or a weight for each token."""

    index: int
    data: Vector | Matrix


class PoolingResponse(msgspec.Struct, tag_field="object", tag="list"):
    """The numbers of each text, in the order of the texts."""

    id: str
    created: int
    model: str
    data: list[Pooled]
    usage: VllmUsage


class VllmTokenizeRequest(msgspec.Struct):
    """A text to tokenize."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False


class VllmTokenizeResponse(msgspec.Struct):
    """Its token ids."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


async def score(body: ScoreRequest, call: Call) -> ScoreResponse:
    """Answer POST /score."""
    queries = _side(body, "queries", "data_1", "text_1")
    documents = _side(body, "documents", "items", "data_2", "text_2")
    check_count(documents, call.settings.max_documents, "documents")
    if len(queries) not in (1, len(documents)):
        raise InvalidInput(
            f"{len(queries)} queries do not pair with {len(documents)} documents",
            field="queries",
            limit=f"1 or {len(documents)}",
            value=len(queries),
        )
    rankings = await rank_pairs(
        zip(queries * len(documents) if len(queries) == 1 else queries, documents, strict=True),
        functools.partial(
            call.rerank,
            field="documents",
            model=body.model,
            normalize=body.use_activation is not False,
            instruction=body.instruction,
            max_tokens=_limit(body.truncate_prompt_tokens),
        ),
    )
    scores = itertools.chain.from_iterable(found.scores.tolist() for found in rankings)
    return ScoreResponse(
        id=f"score-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=rankings[0].card.name,
        data=[Score(index, value) for index, value in enumerate(scores)],
        usage=_usage(token for found in rankings for token in found.tokens),
    )


async def pooling(body: PoolingRequest, call: Call) -> PoolingResponse:
    """Answer POST /pooling."""
    texts = texts_of(body.input, "input")
    check_count(texts, call.settings.max_batch_size, "input")
    found = await call.embed(
        texts,
        field="input",
        model=body.model,
        dense=body.task == "embed",
        colbert=body.task == "token_embed",
        sparse=body.task == "token_classify",
        normalize=body.use_activation,
        dimensions=body.dimensions,
        max_tokens=_limit(body.truncate_prompt_tokens),
    )
    [card] = found.cards.values()
    return PoolingResponse(
        id=f"pool-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=card.name,
        data=[Pooled(index, rows) for index, rows in enumerate(_pooled(found))],
        usage=_usage(found.tokens),
    )


async def tokenize(body: VllmTokenizeRequest, call: Call) -> VllmTokenizeResponse:
    """Answer POST /tokenize with `prompt`."""
    card = call.engine.lookup(body.model)
    [pieces] = await call.engine.tokenize(
        [body.prompt], model=card.name, special=body.add_special_tokens
    )
    return VllmTokenizeResponse(
        count=len(pieces),
        max_model_len=card.max_tokens,
        tokens=[piece.id for piece in pieces],
        token_strs=[piece.text for piece in pieces] if body.return_token_strs else None,
    )


def _side(body: ScoreRequest, *names: str) -> list[str]:
    """Return one side of the pairs, under whichever of its names it came."""
    given = [name for name in names if getattr(body, name) is not None]
    if len(given) != 1:
        seen = " and ".join(given) or "none of them"
        raise InvalidInput(
            f"give exactly one of {', '.join(names)}; there is {seen}", field=names[0], value=seen
        )
    value: OneOrMany = getattr(body, given[0])
    if not value:
        raise EmptyInput(f"{given[0]} is empty", field=given[0])
    return [value] if isinstance(value, str) else value


def _limit(truncate_prompt_tokens: int | None) -> int | None:
    """Read -1 as the model's own limit."""
    return None if truncate_prompt_tokens == -1 else truncate_prompt_tokens


def _usage(tokens: Iterable[int]) -> VllmUsage:
    total = sum(tokens)
    return VllmUsage(total, total)


def _pooled(found: Embeddings) -> list[msgspec.Raw]:
    if found.sparse is not None:
        return [numbers(sparse.by_token) for sparse in found.sparse]
    rows = found.dense_rows if found.colbert is None else found.colbert
    return [numbers(row) for row in rows]


ENDPOINTS = (
    Endpoint(
        dialect=VLLM,
        paths=("/score", "/v1/score"),
        handle=score,
        kind=Kind.RERANK,
        body=ScoreRequest,
        answer=ScoreResponse,
        summary="Score pairs",
    ),
    Endpoint(
        dialect=VLLM,
        paths=("/pooling",),
        handle=pooling,
        kind=Kind.EMBED,
        body=PoolingRequest,
        answer=PoolingResponse,
        summary="Pool texts",
    ),
    Endpoint(
        dialect=VLLM,
        paths=("/tokenize",),
        keys=frozenset({"prompt"}),
        handle=tokenize,
        kind=None,
        body=VllmTokenizeRequest,
        answer=VllmTokenizeResponse,
        summary="Tokenize a text",
    ),
)
