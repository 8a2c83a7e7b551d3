"""Settings: names, order, checks, and the page that lists them."""

import argparse
import io
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from smart_embedder import config_command, serve_command
from smart_embedder.engine_options import engine_options
from smart_embedder.environment import InvalidSettings, fill_from_file, is_service_link
from smart_embedder.serve_command import asked, careful, greeting
from smart_embedder.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]

# What each of the four servers reads from its environment. HOSTNAME is a flag only: in Kubernetes
# it is the pod's name.
THEIR_VARIABLES = """
PORT BGE_EMBED_MAX_LENGTH QWEN_EMBED_MAX_LENGTH BGE_RERANK_MAX_LENGTH QWEN_RERANK_MAX_LENGTH
MAX_INPUT_LENGTH REQUEST_TIMEOUT DENSE_EMBEDDING_MODEL RERANKER_MODEL QWEN_RERANK_BATCH_SIZE
API_TOKEN MAX_QUEUE_SIZE RERANK_MAX_QUEUE RERANK_GPU_TIMEOUT RATE_LIMIT_REQUESTS_PER_MINUTE
RATE_LIMIT_BURST_SIZE GPU_PROCESS_TIMEOUT MULTI_GPU_DEVICES
MODEL_ID REVISION TOKENIZATION_WORKERS DTYPE POOLING MAX_CONCURRENT_REQUESTS MAX_BATCH_TOKENS
MAX_BATCH_REQUESTS MAX_CLIENT_BATCH_SIZE API_KEY JSON_OUTPUT OTLP_ENDPOINT OTLP_SERVICE_NAME
MODEL_NAME BATCH_SIZE TORCH_THREADS MAX_DOCUMENTS UVICORN_WORKERS UVICORN_MAX_CONNECTIONS
UVICORN_LIMIT_CONCURRENCY UVICORN_BACKLOG UVICORN_TIMEOUT_KEEP_ALIVE ENABLE_LOGGING LOG_LEVEL
MODELS MODEL_DEVICE MAX_BATCH_SIZE MAX_TEXT_CHARS ENABLE_METRICS ENABLE_WARMUP WARMUP_BATCH_SIZE
WARMUP_STEPS ENABLE_BATCHING BATCH_WINDOW_MS BATCH_WINDOW_MAX_SIZE EMBEDDING_CACHE_SIZE
MAX_CONCURRENT HF_TOKEN
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_every_variable_of_the_four_servers_is_a_setting() -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert set(THEIR_VARIABLES.split()) <= known


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("port", 8000),
        ("max_queue_size", 200),
        ("rerank_max_queue", 32),
        ("request_timeout", 90),
        ("rerank_gpu_timeout", 60),
        ("rate_limit_requests_per_minute", 3600),
        ("rate_limit_burst_size", 120),
        ("qwen_embed_max_length", 32768),
        ("max_documents", 100),
        ("embedding_cache_size", 256),
    ],
)
def test_the_hybrid_servers_defaults_hold(name: str, default: int) -> None:
    assert getattr(read_settings(), name) == default


def test_the_rerank_servers_own_file_is_taken_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    said = """MODEL_NAME=Qwen/Qwen3-Reranker-0.6B BATCH_SIZE=32 TORCH_THREADS=4 MAX_DOCUMENTS=100
    UVICORN_WORKERS=1 UVICORN_MAX_CONNECTIONS=2000 UVICORN_LIMIT_CONCURRENCY=1000
    UVICORN_BACKLOG=2048 UVICORN_TIMEOUT_KEEP_ALIVE=5 ENABLE_LOGGING=true LOG_LEVEL=INFO"""
    for line in said.split():
        monkeypatch.setenv(*line.split("="))
    settings = read_settings()
    assert (settings.model_name, settings.batch_size) == ("Qwen/Qwen3-Reranker-0.6B", 32)
    assert settings.model_copy(
        update={"model_name": None, "batch_size": None, "torch_threads": None}
    ) == Settings.model_construct(_fields_set=settings.model_fields_set)
    monkeypatch.setenv("UVICORN_WORKERS", "2")
    with pytest.raises(InvalidSettings, match="UVICORN_WORKERS"):
        read_settings()


def test_teis_word_for_the_last_token_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLING", "last-token")
    assert read_settings().pooling == "last"


def test_hostname_is_never_read() -> None:
    assert "hostname" not in Settings.model_fields


def test_the_page_lists_exactly_the_settings_of_the_code() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    table = "\n".join(config_command.table())
    assert table in page, (
        "run `smart-embedder config --table` and put it into docs/configuration.md"
    )


def test_the_example_file_names_only_settings() -> None:
    text = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#? ?([A-Z_]+)=", text, re.MULTILINE))
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}


def test_a_flag_wins_over_our_prefix_and_that_over_the_plain_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAX_QUEUE_SIZE", "1")
    monkeypatch.setenv("PORT", "1001")
    monkeypatch.setenv("SMART_EMBEDDER_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("SMART_EMBEDDER_PORT", "1002")
    settings = read_settings(port=1003)
    assert (settings.max_queue_size, settings.port) == (2, 1003)


def flags(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    serve_command.add_parser(parser.add_subparsers())
    return serve_command._flags(parser.parse_args(["serve", *words]))


def test_every_setting_but_the_hubs_is_a_flag_with_the_value_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {
        "MODELS": "bge-m3,embedding-gemma-300m",
        "MODEL_ALIASES": "small=bge-m3",
        "PROMPTS": '{"query": "find: "}',
        "API_KEY": "s3cret",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "MAX_BATCH_TOKENS": "1384",
        "BATCH_WINDOW_MS": "2.5",
        "JSON_OUTPUT": "true",
    }
    words = [word for name in said for word in (f"--{name.lower().replace('_', '-')}", said[name])]
    by_flags = read_settings(**flags(*words))
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert by_flags == read_settings()
    every = {name for name in Settings.model_fields if not name.startswith("hf_")}
    texts = [f"--{name.replace('_', '-')}=x" for name in sorted(every)]
    assert set(flags(*texts)) == every


def test_a_switch_stands_alone_and_two_settings_have_a_second_word() -> None:
    settings = read_settings(**flags("--json-output", "--hostname", "::1", "--device", "cpu"))
    assert (settings.json_output, settings.host, settings.model_device) == (True, "::1", "cpu")


def test_a_flag_with_a_wrong_value_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidSettings, match="MAX_CONCURRENT"):
        read_settings(**flags("--max-concurrent", "many"))
    with pytest.raises(InvalidSettings, match="PROMPTS"):
        read_settings(**flags("--prompts", "find: "))
    with pytest.raises(SystemExit):
        flags("--max-conc", "2")
    assert "--max-conc" in capsys.readouterr().err


def test_a_typo_in_our_prefix_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMART_EMBEDDER_MAX_QUEU_SIZE", "2")
    with pytest.raises(InvalidSettings, match="SMART_EMBEDDER_MAX_QUEU_SIZE"):
        read_settings()


def test_the_hubs_variables_have_no_second_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMART_EMBEDDER_HF_TOKEN", "s3cret")
    with pytest.raises(InvalidSettings, match="SMART_EMBEDDER_HF_TOKEN"):
        read_settings()


def test_a_log_level_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "warning")
    assert read_settings().log_level == "WARNING"


def test_a_service_of_our_name_does_not_confuse_its_own_pods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = {
        "SMART_EMBEDDER_PORT": "tcp://10.0.0.7:8000",
        "SMART_EMBEDDER_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "SMART_EMBEDDER_PORT_8000_TCP_ADDR": "10.0.0.7",
        "SMART_EMBEDDER_SERVICE_HOST": "10.0.0.7",
        "SMART_EMBEDDER_SERVICE_PORT_HTTP": "8000",
        "SMART_EMBEDDER_METRICS_PORT": "tcp://10.0.0.8:9090",
    }
    for name, value in links.items():
        assert is_service_link(name, value)
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert (settings.port, settings.metrics_port) == (8000, 9090)


def test_the_env_file_fills_in_and_overrides_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("MAX_QUEUE_SIZE=5\nMAX_DOCUMENTS=6\n")
    monkeypatch.setenv("MAX_QUEUE_SIZE", "7")
    monkeypatch.setenv("MAX_DOCUMENTS", "")  # so that monkeypatch takes it back at the end
    monkeypatch.delenv("MAX_DOCUMENTS")
    fill_from_file(file)
    settings = read_settings()
    assert (settings.max_queue_size, settings.max_documents) == (7, 6)


def test_what_is_wrong_is_named_and_its_value_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "s3cret")
    with pytest.raises(InvalidSettings, match="PORT") as caught:
        read_settings()
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("MAX_BATCH_REQUESTS", "-1"), ("TOKENIZATION_WORKERS", "-2"), ("DRAIN_SECONDS", "-0.5")),
        *(("REQUEST_TIMEOUT", "nan"), ("REQUEST_TIMEOUT", "inf"), ("PORT", "65536")),
    ],
)
def test_a_number_that_cannot_be_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=name):
        read_settings()


def test_config_prints_effective_values_and_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cret")
    monkeypatch.setenv("MAX_QUEUE_SIZE", "9")
    out = io.StringIO()
    assert config_command.run(Namespace(table=False), out=out) == 0
    assert "s3cret" not in out.getvalue()
    assert "API_TOKEN=********\n" in out.getvalue()
    assert "API_KEY=\n" in out.getvalue()
    assert "MAX_QUEUE_SIZE=9\n" in out.getvalue()


def test_what_config_prints_is_read_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "PROMPTS": '{"query": "search: ", "a=b": "c,d"}',
        "MODEL_ALIASES": "a=b,c=d",
        "MODELS": "bge-m3,x/y",
        "TRUSTED_PROXIES": "10.0.0.0/8,::1/128",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    before = read_settings()
    for line in config_command.effective(before):
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    assert read_settings() == before


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings().port = 1


@pytest.mark.parametrize(
    ("told", "embedding", "dense", "reranker"),
    [
        ({}, "BAAI/bge-m3", None, "BAAI/bge-reranker-v2-m3"),
        ({"DENSE_EMBEDDING_MODEL": "BAAI/bge-m3"}, "BAAI/bge-m3", None, "BAAI/bge-reranker-v2-m3"),
        (
            {"DENSE_EMBEDDING_MODEL": "Qwen/Qwen3-Embedding-0.6B", "RERANKER_MODEL": "none"},
            "BAAI/bge-m3",
            "Qwen/Qwen3-Embedding-0.6B",
            None,
        ),
        ({"MODEL_ID": "a/b", "MODEL_NAME": "c/d"}, "a/b", None, "c/d"),
        (
            {"EMBEDDING_MODEL": "bge", "DENSE_EMBEDDING_MODEL": "qwen", "RERANKER_MODEL": "qwen"},
            *("BAAI/bge-m3", "Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Reranker-0.6B"),
        ),
        (
            {"EMBEDDING_MODEL": "all-MiniLM-L6-v2", "RERANKER_MODEL": "bge-reranker-base"},
            *("sentence-transformers/all-MiniLM-L6-v2", None, "BAAI/bge-reranker-base"),
        ),
        ({"MODELS": "bge-m3"}, "BAAI/bge-m3", None, "BAAI/bge-reranker-v2-m3"),
        ({"EMBEDDING_MODEL": "x/y", "MODEL_ID": "a/b"}, "x/y", None, "BAAI/bge-reranker-v2-m3"),
    ],
)
def test_the_models_of_each_server_are_found_under_its_own_names(
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, str],
    embedding: str,
    dense: str | None,
    reranker: str | None,
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    options = engine_options(read_settings())
    found = [model and model.name for model in (options.embedding, options.dense, options.reranker)]
    assert found == [embedding, dense, reranker]


def test_further_models_are_served_beside_the_first() -> None:
    options = engine_options(Settings(models=("bge-m3", "embedding-gemma-300m")))
    assert [model.name for model in options.more] == ["google/embeddinggemma-300m"]
    assert options.aliases == {
        "bge-m3": "BAAI/bge-m3",
        "embedding-gemma-300m": "google/embeddinggemma-300m",
    }


@pytest.mark.parametrize(
    ("told", "length"),
    [
        ({}, 8192),
        ({"max_input_length": 512}, 512),
        ({"max_input_length": 512, "bge_embed_max_length": 1024}, 1024),
        ({"embedding_model": "Qwen/Qwen3-Embedding-0.6B"}, 32768),
        ({"embedding_model": "other/model"}, None),
    ],
)
def test_each_family_has_its_own_length(told: dict[str, object], length: int | None) -> None:
    embedding = engine_options(Settings(**told)).embedding  # type: ignore[arg-type]  # mixed values
    assert embedding is not None
    assert embedding.max_tokens == length


def test_admission_and_batches_take_every_servers_word_for_them() -> None:
    told = Settings(
        max_concurrent_requests=4, max_batch_requests=5, batch_window_ms=6, embedding_cache_size=0
    )
    scheduling = engine_options(told).scheduling
    assert scheduling.max_queue_requests == 4
    assert scheduling.max_batch_texts == 5
    assert scheduling.batch_window_seconds == 0.006
    assert scheduling.cache_entries == 0


def test_the_cap_on_passes_is_one_of_devices_and_of_threads_that_tokenize() -> None:
    capped = engine_options(Settings(max_concurrent=2))
    told = engine_options(Settings(max_concurrent=2, tokenization_workers=3))
    assert (capped.max_devices, capped.tokenizer_workers) == (2, 2)
    assert (told.max_devices, told.tokenizer_workers) == (2, 3)


def test_the_pairs_of_a_rerank_batch_become_the_tokens_they_may_take() -> None:
    told = Settings(
        reranker_model="Qwen/Qwen3-Reranker-0.6B",
        qwen_rerank_batch_size=4,
        qwen_rerank_max_length=4096,
    )
    reranker = engine_options(told).reranker
    assert reranker is not None
    assert (reranker.max_tokens, reranker.max_batch_tokens) == (4096, 16384)


def test_batching_can_be_switched_off_whatever_the_window() -> None:
    told = Settings(enable_batching=False, batch_window_ms=6)
    assert engine_options(told).scheduling.batch_window_seconds == 0


def test_aliases_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ALIASES", "small=BAAI/bge-m3, rerank-v3.5=BAAI/bge-reranker-v2-m3")
    aliases = engine_options(read_settings()).aliases
    assert aliases == {"small": "BAAI/bge-m3", "rerank-v3.5": "BAAI/bge-reranker-v2-m3"}
    monkeypatch.setenv("MODEL_ALIASES", "small")
    with pytest.raises(InvalidSettings, match="MODEL_ALIASES"):
        read_settings()


def test_serve_asks_for_models_only_where_nobody_named_one() -> None:
    answers = iter(["what", "QWEN", ""])
    assert asked(Settings(), lambda _: next(answers)) == {
        "dense_embedding_model": "Qwen/Qwen3-Embedding-0.6B",
        "reranker_model": "BAAI/bge-reranker-v2-m3",
    }
    assert asked(Settings(embedding_model="demo/bge-m3"), lambda _: pytest.fail("asked")) == {}


def test_qwens_reranker_is_bounded_on_a_cpu_unless_somebody_said_otherwise() -> None:
    qwen = {"reranker_model": "Qwen/Qwen3-Reranker-0.6B"}
    assert careful(Settings(model_device="cpu", **qwen)) == {
        "qwen_rerank_batch_size": 1,
        "qwen_rerank_max_length": 2048,
    }
    told = Settings(model_device="cpu", qwen_rerank_max_length=8192, **qwen)
    assert careful(told) == {"qwen_rerank_batch_size": 1}
    assert not careful(Settings(model_device="cuda", **qwen))
    assert not careful(Settings(model_device="cpu"))


def test_serve_says_what_to_type_next_with_demo_models() -> None:
    assert "curl http://127.0.0.1:8000/embeddings/" in greeting(
        Settings(embedding_model="demo/bge-m3", host="127.0.0.1")
    )
    assert not greeting(Settings())
