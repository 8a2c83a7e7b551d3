"""The dialect of text-embeddings-inference, and of `huggingface_hub`, which posts to `/`.

Bad values are 422, no input at all is 400, a failed pass 424, as its clients know them.
`/embed_all` gives ColBERT vectors. `/info` is in `api.tei_info`.
"""

import functools
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import msgspec
import orjson

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import Matrix, Vector, numbers
from smart_embedder.api.inputs import (
    AtLeastOne,
    Direction,
    Inputs,
    TokenIds,
    check_count,
    prompt_of,
    side_of,
    texts_of,
)
from smart_embedder.api.ranking import best_first, rank_pairs
from smart_embedder.errors import EmptyInput, EncodingFailed, InvalidInput
from smart_embedder.models.model import Output, Piece
from smart_embedder.results import Embeddings, Ranking, Sparse
from smart_embedder.scheduling.observer import Kind

LABEL = "LABEL_0"
"""What transformers calls the one label of a model that names none, as rerankers do."""


class TeiError(msgspec.Struct):
    """What its clients read as an error."""

    error: str
    error_type: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        named = {400: "Empty", 424: "Backend", 429: "Overloaded", 503: "Unhealthy"}
        return cls(problem.sentence, named.get(problem.status, "Validation"))


TEI = Dialect(
    name="TEI",
    error=TeiError,
    statuses={InvalidInput: 422, EmptyInput: 400, EncodingFailed: 424},
)


class TeiTexts(msgspec.Struct):
    """Texts, and what to do with long ones."""

    inputs: Inputs
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class TeiEmbedRequest(TeiTexts):
    """Texts to embed."""

    normalize: bool = True
    dimensions: AtLeastOne | None = None


class TeiSparseValue(msgspec.Struct):
    """One token's weight."""

    index: int
    value: float


class TeiPairs(msgspec.Struct, kw_only=True):
    """What to do with long pairs, and how to score them."""

    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False


class TeiRerankRequest(TeiPairs):
    """Texts to rank for a query."""

    query: str
    texts: list[str]
    return_text: bool = False


class TeiPredictRequest(TeiPairs):
    """A pair of texts to score, or several."""

    inputs: str | list[str | list[str]]


class TeiPrediction(msgspec.Struct):
    """One label's score; a reranker has one label."""

    score: float
    label: str


class TeiRank(msgspec.Struct, omit_defaults=True):
    """One text's score."""

    index: int
    score: float
    text: str | None = None


class SimilarityInputs(msgspec.Struct):
    """One sentence, and those it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(msgspec.Struct):
    """What to do with long sentences."""

    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class SimilarityRequest(msgspec.Struct):
    """Sentences to compare."""

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class RootRequest(TeiEmbedRequest):
    """What `huggingface_hub` posts to `/`: texts to embed, or sentences to compare."""

    inputs: Inputs | SimilarityInputs  # type: ignore[assignment] # the wider of the two requests
    parameters: SimilarityParameters | None = None


class TeiTokenizeRequest(msgspec.Struct):
    """Texts to tokenize."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class TeiDecodeRequest(msgspec.Struct):
    """Token ids to turn back into text."""

    ids: TokenIds
    skip_special_tokens: bool = True


async def embed(body: TeiEmbedRequest, call: Call) -> msgspec.Raw:
    """Answer POST /embed."""
    found = await _embed(body, call, normalize=body.normalize, dimensions=body.dimensions)
    return numbers(found.dense_rows)


async def embed_sparse(body: TeiTexts, call: Call) -> list[msgspec.Raw]:
    """Answer POST /embed_sparse."""
    found = await _embed(body, call, Output.SPARSE, dense=False, sparse=True)
    assert found.sparse is not None  # noqa: S101 - it was asked for
    return [_pairs(sparse) for sparse in found.sparse]


async def embed_all(body: TeiTexts, call: Call) -> list[msgspec.Raw]:
    """Answer POST /embed_all: one vector for each token of each text."""
    found = await _embed(body, call, Output.COLBERT, dense=False, colbert=True)
    assert found.colbert is not None  # noqa: S101 - it was asked for
    return [numbers(rows) for rows in found.colbert]


async def rerank(body: TeiRerankRequest, call: Call) -> list[TeiRank]:
    """Answer POST /rerank with `texts`."""
    check_count(body.texts, call.settings.max_client_batch_size, "texts")
    found = await _rank(body.query, body.texts, body=body, call=call, field="texts")
    return [
        TeiRank(rank.index, rank.score, body.texts[rank.index] if body.return_text else None)
        for rank in best_first(found)
    ]


async def predict(body: TeiPredictRequest, call: Call) -> Sequence[object]:
    """Answer POST /predict for a reranker, which reads pairs: `[one, other]`, or a list of those.

    A text alone is refused: it is nothing that the model was trained to read.
    """
    alone = isinstance(body.inputs, str) or not any(isinstance(p, list) for p in body.inputs)
    given = [body.inputs] if alone else body.inputs
    check_count(given, call.settings.max_client_batch_size, "inputs")
    pairs = [_pair(pair, index) for index, pair in enumerate(given)]
    rankings = await rank_pairs(
        pairs, functools.partial(_rank, body=body, call=call, field="inputs")
    )
    scores = itertools.chain.from_iterable(found.scores.tolist() for found in rankings)
    found = [[TeiPrediction(score, LABEL)] for score in scores]
    return found[0] if alone else found


async def similarity(body: SimilarityRequest, call: Call) -> msgspec.Raw:
    """Answer POST /similarity with one cosine for each sentence."""
    said, options = body.inputs, body.parameters or SimilarityParameters()
    if not said.sentences:
        raise EmptyInput("there is no sentence to compare with", field="inputs.sentences")
    texts = TeiTexts(
        [said.source_sentence, *said.sentences],
        options.truncate,
        options.truncation_direction,
        options.prompt_name,
    )
    found = await _embed(texts, call, normalize=True)
    return numbers(found.dense_rows[1:] @ found.dense_rows[0])


async def root(body: RootRequest, call: Call) -> msgspec.Raw:
    """Answer POST /."""
    if isinstance(body.inputs, SimilarityInputs):
        return await similarity(SimilarityRequest(body.inputs, body.parameters), call)
    return await embed(body, call)


async def tokenize(body: TeiTokenizeRequest, call: Call) -> list[list[Piece]]:
    """Answer POST /tokenize with `inputs`."""
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    check_count(texts, call.settings.max_client_batch_size, "inputs")
    prompt = prompt_of(call, body.prompt_name, Output.NONE)
    return await call.engine.tokenize(texts, prompt=prompt, special=body.add_special_tokens)


async def decode(body: TeiDecodeRequest, call: Call) -> list[str]:
    """Answer POST /decode."""
    return [
        await call.engine.decode(ids, skip_special=body.skip_special_tokens)
        for ids in texts_of(body.ids, "ids")
        if not isinstance(ids, str)
    ]


async def _rank(query: str, texts: list[str], body: TeiPairs, call: Call, field: str) -> Ranking:
    found = await call.rerank(
        query,
        texts,
        field=field,
        normalize=not body.raw_scores,
        truncation_side=side_of(body.truncation_direction),
    )
    if body.truncate is False and found.truncations:
        cut = found.truncations[0]
        raise InvalidInput(
            f"the pair has {cut.original} tokens of a {cut.part}, there is room for {cut.kept}",
            field=field,
            index=cut.index,
            limit=cut.kept,
            value=cut.original,
        )
    return found


def _pair(given: object, index: int) -> tuple[str, str]:
    match given:
        case [str(first), str(second)]:
            return first, second
    raise InvalidInput("a reranker reads pairs: [one, other]", field="inputs", index=index)


async def _embed(
    body: TeiTexts, call: Call, output: Output = Output.DENSE, **options: Any
) -> Embeddings:
    texts = texts_of(body.inputs, "inputs")
    check_count(texts, call.settings.max_client_batch_size, "inputs")
    return await call.embed(
        texts,
        field="inputs",
        truncate=body.truncate is not False,
        truncation_side=side_of(body.truncation_direction),
        prompt=prompt_of(call, body.prompt_name, output),
        **options,
    )


def _pairs(sparse: Sparse) -> msgspec.Raw:
    """Write lexical weights with their shortest digits."""
    ids = sparse.ids.tolist()
    pairs = [
        {"index": index, "value": value} for index, value in zip(ids, sparse.weights, strict=True)
    ]
    return msgspec.Raw(orjson.dumps(pairs, option=orjson.OPT_SERIALIZE_NUMPY))


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
        dialect=TEI,
        paths=(path,),
        handle=handle,
        kind=kind,
        body=body,
        answer=answer,
        summary=summary,
        keys=frozenset(keys),
    )


_ranks, _reads = partial(_post, kind=Kind.RERANK), partial(_post, kind=None)


_PREDICTIONS = list[TeiPrediction | list[TeiPrediction]]

ENDPOINTS: tuple[Endpoint, ...] = (
    _post("/embed", embed, TeiEmbedRequest, Matrix, "Embed texts"),
    _post("/embed_sparse", embed_sparse, TeiTexts, list[list[TeiSparseValue]], "Weigh tokens"),
    _post("/embed_all", embed_all, TeiTexts, list[Matrix], "One vector for each token"),
    _ranks("/rerank", rerank, TeiRerankRequest, list[TeiRank], "Rank texts", "texts"),
    _ranks("/predict", predict, TeiPredictRequest, _PREDICTIONS, "Score pairs"),
    _post("/similarity", similarity, SimilarityRequest, Vector, "Compare sentences"),
    _post("/", root, RootRequest, Matrix | Vector, "Embed or compare", "inputs"),
    _ranks("/", rerank, TeiRerankRequest, list[TeiRank], "Rank texts", "texts"),
    _reads("/tokenize", tokenize, TeiTokenizeRequest, list[list[Piece]], "Tokenize", "inputs"),
    _reads("/decode", decode, TeiDecodeRequest, list[str], "Turn token ids into text"),
)
