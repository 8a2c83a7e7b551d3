"""Which models an Embedder serves, and where they come from."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from smart_embedder_operator.spec.fields import Key, Name, Piece, Rule, Text, Url, says

# A hub id, a folder or a demo name, then perhaps @ and a branch, tag or commit.
Reference = Annotated[str, Meta(min_length=1, max_length=384, pattern="^[^@ ]+(@[^@ ]+)?$")]
Dtype = Literal["auto", "float32", "float16", "bfloat16", "int8"]
MaxLength = Annotated[int, Meta(ge=8, le=131072)]
Role = Literal["embedding", "dense", "reranker"]


class Model(Struct, frozen=True):
    """One model as it was asked for."""

    name: str
    revision: str | None


class Models(Piece, frozen=True, kw_only=True):
    """The models of one Embedder. Each is a name, with @revision if it shall not be the newest."""

    embedding: Annotated[
        Reference | None,
        says(
            "Gives dense, sparse and ColBERT vectors, as BAAI/bge-m3 does. A model of the hub, a "
            "folder in the cache volume (/models/bge-m3), or a small one to try things with "
            "(demo/bge-m3). BAAI/bge-m3@5617a9f pins a commit; without one, what the name means "
            "is resolved once and kept, so that every pod serves the same weights. Changing it is "
            "a migration."
        ),
    ] = None
    dense: Annotated[
        Reference | None,
        says(
            "Takes over the dense vectors (Qwen/Qwen3-Embedding-0.6B, say); sparse and ColBERT "
            "stay with `embedding`. Changing it is a migration."
        ),
    ] = None
    reranker: Annotated[
        Reference | None,
        says("Scores passages against a query. Changing it is an ordinary rolling update."),
    ] = None
    max_length: Annotated[
        MaxLength | None,
        says(
            "Longest text to embed, in tokens; longer ones are cut. Unset takes each model's own "
            "limit. Changing it is a migration."
        ),
    ] = None
    rerank_max_length: Annotated[
        MaxLength | None,
        says("Longest query and passage together, in tokens. Unset takes the model's own limit."),
    ] = None
    dtype: Annotated[
        Dtype,
        says(
            "Number format of all weights. `auto` takes the one of the hardware: float32 on CPU, "
            "bfloat16 on GPU unless the profile names another; every pod uses the same. Changing "
            "it is a migration."
        ),
    ] = "auto"
    pooling: Annotated[
        Literal["cls", "mean", "last"] | None,
        says(
            "How token vectors become one. Unset takes the model's own way. Changing it is a "
            "migration."
        ),
    ] = None
    engine: Annotated[
        Literal["packed", "flagembedding"],
        says(
            "`packed` is ours and fast; `flagembedding` is the reference implementation. Changing "
            "it is a migration."
        ),
    ] = "packed"

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.embedding) || has(self.dense) || has(self.reranker)",
            "name at least one model: spec.models.embedding, spec.models.dense or "
            "spec.models.reranker, for example {embedding: BAAI/bge-m3}",
            lambda models: bool(models.embedding or models.dense or models.reranker),
        ),
    )

    @property
    def by_role(self) -> dict[Role, Model]:
        """The models that are asked for, name and revision apart."""
        written: dict[Role, str | None] = {
            "embedding": self.embedding,
            "dense": self.dense,
            "reranker": self.reranker,
        }
        return {role: _model(text) for role, text in written.items() if text is not None}


def _model(reference: str) -> Model:
    name, _, revision = reference.partition("@")
    return Model(name, revision or None)


class SecretKey(Piece, frozen=True, kw_only=True):
    """One entry of a Secret in the Embedder's namespace; the operator itself never reads it."""

    name: Annotated[Name, says("Name of the Secret.")]
    key: Annotated[Key, says("Entry within it.")] = "token"


class ConfigMapKey(Piece, frozen=True, kw_only=True):
    """One entry of a ConfigMap in the Embedder's namespace."""

    name: Annotated[Name, says("Name of the ConfigMap.")]
    key: Annotated[Key, says("Entry within it.")] = "ca.crt"


class Hub(Piece, frozen=True, kw_only=True):
    """Where model files are downloaded from."""

    endpoint: Annotated[
        Url | None, says("Address of a mirror of the Hugging Face hub. Unset means the hub itself.")
    ] = None
    token_secret_ref: Annotated[
        SecretKey | None,
        says("Access token for private or gated models, by reference to a Secret."),
    ] = None
    offline: Annotated[
        bool,
        says(
            "Never touch the network: every file must already be in the cache. For air-gapped "
            "clusters, with cache.type ExistingClaim or Image."
        ),
    ] = False


class CaBundle(Piece, frozen=True, kw_only=True):
    """Certificate authorities to trust."""

    config_map_ref: Annotated[
        ConfigMapKey,
        says("ConfigMap entry with PEM certificates. They take the place of the public ones."),
    ]


class Proxy(Piece, frozen=True, kw_only=True):
    """The proxy that downloads go through."""

    http: Annotated[Url | None, says("Proxy for http:// addresses.")] = None
    https: Annotated[Url | None, says("Proxy for https:// addresses.")] = None
    exceptions: Annotated[
        Annotated[tuple[Text, ...], Meta(max_length=64)],
        says("Hosts, domains and networks reached without the proxy."),
    ] = ()
