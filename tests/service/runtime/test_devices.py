"""Devices are what was asked for, or an error; dtype and budget are rules."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from smart_embedder.errors import DeviceUnavailable, ModelLoadFailed
from smart_embedder.runtime.budget import batch_token_budget
from smart_embedder.runtime.devices import (
    INT8,
    Device,
    Hardware,
    dtype_name,
    quota_cores,
    resolve,
    resolve_dtype,
    use_threads,
)

CPU = Device("cpu", 0, "x86_64")
AMPERE = Device("cuda", 0, "A10", 24 << 30, bfloat16=True)
TURING = Device("cuda", 1, "T4", 15 << 30)
TWO_GPUS = Hardware(CPU, (AMPERE, TURING))
NO_GPU = Hardware(CPU)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("auto", [AMPERE, TURING]),
        ("cpu", [CPU]),
        ("cuda", [AMPERE, TURING]),
        ("cuda:1", [TURING]),
        (" CUDA:1 , cuda:0", [TURING, AMPERE]),
        ("cuda:0,cuda", [AMPERE, TURING]),
    ],
)
def test_a_spec_names_its_devices_in_order_and_once(spec: str, found: list[Device]) -> None:
    assert resolve(spec, TWO_GPUS) == found


def test_no_more_devices_are_used_than_may_be() -> None:
    assert resolve("cuda", TWO_GPUS, most=1) == resolve("cuda:0", TWO_GPUS)


def test_only_auto_falls_back_to_the_cpu() -> None:
    assert resolve("auto", NO_GPU) == [CPU]
    with pytest.raises(DeviceUnavailable, match="'cuda' is not usable here; there is cpu"):
        resolve("cuda", NO_GPU)


@pytest.mark.parametrize("spec", ["", "cuda:2", "cuda:", "cuda:x", "mps", "tpu", "cpu,,cpu"])
def test_a_device_that_is_not_there_is_refused(spec: str) -> None:
    with pytest.raises(DeviceUnavailable):
        resolve(spec, TWO_GPUS)


def test_this_machine_has_at_least_its_processor() -> None:
    assert resolve("cpu")[0].torch == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "fp16", "dtype"),
    [
        (CPU, True, torch.float32),
        (AMPERE, True, torch.bfloat16),
        (AMPERE, False, torch.bfloat16),
        (TURING, True, torch.float16),
        (TURING, False, torch.float32),
    ],
)
def test_auto_dtype_follows_the_device_and_the_family(
    device: Device, fp16: bool, dtype: torch.dtype
) -> None:
    assert resolve_dtype("auto", device, family_allows_fp16=fp16) == dtype


def test_a_dtype_that_would_break_the_vectors_is_refused() -> None:
    with pytest.raises(ModelLoadFailed, match="overflows float16"):
        resolve_dtype("float16", AMPERE, family_allows_fp16=False)
    with pytest.raises(ModelLoadFailed, match="CPU only"):
        resolve_dtype("int8", AMPERE)
    with pytest.raises(ModelLoadFailed, match="one of auto"):
        resolve_dtype("fp8", CPU)


def test_dtypes_are_spelled_as_they_are_asked_for() -> None:
    for word in ("float32", "bfloat16", "float16", "int8"):
        assert dtype_name(resolve_dtype(word, CPU)) == word
    assert resolve_dtype("int8", CPU) == INT8


@pytest.mark.parametrize(
    ("gib", "max_tokens", "texts"),
    [
        (24, 8192, 12), (8, 8192, 6), (4, 8192, 3),
        (24, 512, 128), (8, 512, 64), (6, 512, 32), (4, 512, 16),
    ],
)  # fmt: skip
def test_the_budget_of_a_gpu_holds_the_tables_batch_sizes(
    gib: int, max_tokens: int, texts: int
) -> None:
    device = Device("cuda", 0, "GPU", gib << 30)
    assert batch_token_budget(device, max_tokens) == texts * max_tokens


@pytest.mark.parametrize(("gib", "tokens"), [(24, 16 * 8192), (8, 8 * 8192), (6, 4 * 4096)])
def test_rerank_has_a_table_of_its_own(gib: int, tokens: int) -> None:
    device = Device("cuda", 0, "GPU", gib << 30)
    assert batch_token_budget(device, 8192, work="rerank") == tokens


def test_a_very_long_context_does_not_multiply_the_budget() -> None:
    assert batch_token_budget(AMPERE, 32768) == 12 * 8192


def test_a_cpu_pass_stays_short() -> None:
    assert batch_token_budget(CPU, 8192) == 1024
    assert batch_token_budget(CPU, 512) == 512


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", None),
        ("", None),
    ],
)
def test_a_containers_limit_is_counted_in_whole_cores(
    tmp_path: Path, limits: str, cores: int | None
) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(limits)
    assert quota_cores(path) == cores


def test_a_machine_without_limits_has_none(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "cpu.max") is None


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_threads_are_as_asked_for_or_what_there_is(threads: int) -> None:
    assert use_threads(None) <= threads
    assert use_threads(1) == 1
