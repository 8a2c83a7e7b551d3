"""Which format a body of a shared path is, and how that path says no."""

import itertools
import re
from pathlib import Path

import httpx
import pytest

from smart_embedder.api.dispatch import choose, paths
from smart_embedder.api.errors import STATUS, Ambiguous, Refused
from smart_embedder.api.routes import DIALECTS

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
SHARED = {path.path: path for path in paths(DIALECTS) if len(path.endpoints) > 1}
EMBEDDINGS = [
    ({"sentences"}, "native"),
    ({"content"}, "llama.cpp"),
    ({"input"}, "OpenAI"),
    ({"input", "embd_normalize"}, "llama.cpp"),
    ({"input", "model", "dimensions"}, "OpenAI"),
]
RERANK = [({"passages", "query"}, "native"), ({"texts", "query"}, "TEI")]
TOKENIZE = [({"inputs"}, "TEI"), ({"content"}, "llama.cpp"), ({"prompt"}, "vLLM")]


@pytest.mark.parametrize(
    ("path", "keys", "dialect"),
    [("/embeddings", *case) for case in EMBEDDINGS]
    + [("/rerank", *case) for case in RERANK]
    + [("/tokenize", *case) for case in TOKENIZE],
)
async def test_the_fields_of_a_body_decide_its_format(
    path: str, keys: set[str], dialect: str
) -> None:
    assert choose(SHARED[path].endpoints, keys).dialect.name == dialect


@pytest.mark.parametrize("path", SHARED)
async def test_several_formats_at_once_are_none(path: str) -> None:
    endpoints = SHARED[path].endpoints
    for one, other in itertools.combinations(endpoints, 2):
        if not (one.keys < other.keys or other.keys < one.keys):
            with pytest.raises(Ambiguous):
                choose(endpoints, one.keys | other.keys)


@pytest.mark.parametrize("path", SHARED)
async def test_a_body_of_no_format_is_422_and_every_client_of_the_path_can_read_it(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.post(path, json={"nothing": 1})

    assert answer.status_code == 422
    for dialect in SHARED[path].dialects:
        assert set(dialect.error.__struct_fields__[:1]) <= set(answer.json())  # type: ignore[attr-defined] # structs


async def test_an_endpoint_alone_on_its_path_needs_no_telling() -> None:
    [embed] = [path for path in paths(DIALECTS) if path.path == "/api/v1/embed"]
    assert choose(embed.endpoints, ()).dialect.name == "/api/v1/embed"


@pytest.mark.parametrize("path", sorted({path.path for path in paths(DIALECTS)}))
async def test_the_page_on_the_api_names_every_path(path: str) -> None:
    page = (ROOT / "docs/api.md").read_text()
    named = re.escape(path.replace(":path}", "}"))
    assert re.search(f"[` ]{named}`", page)


async def test_no_dialect_changes_the_status_of_a_refusal_made_before_parsing() -> None:
    early = {kind for kind in STATUS if issubclass(kind, Refused)}
    for endpoint in DIALECTS:
        assert not early & set(endpoint.dialect.statuses)


@pytest.mark.parametrize(
    ("path", "ask", "status"),
    [
        ("/embeddings", {"sentences": [1]}, 422),
        ("/embed", {"inputs": 1}, 422),
        ("/embed", {"inputs": []}, 400),
        ("/api/v1/embed", {"inputs": 1}, 422),
        ("/v1/embeddings", {"input": 1}, 400),
        ("/v2/rerank", {"query": "q", "documents": 1}, 400),
        ("/embedding", {"content": {}}, 400),
    ],
)
async def test_a_wrong_value_has_the_status_of_its_format(
    client: httpx.AsyncClient, path: str, ask: dict[str, object], status: int
) -> None:
    assert (await client.post(path, json=ask)).status_code == status
