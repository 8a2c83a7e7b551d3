"""Which devices there are, which are meant, and what fits on one. Knows nothing of models' weights.

Everything here is a rule, never a measurement: replicas on equal hardware must agree on dtype,
because their vectors are only comparable when they do.
"""

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from smart_embedder.errors import DeviceUnavailable, ModelLoadFailed

Kind = Literal["cpu", "cuda", "mps"]

INT8 = torch.int8
"""As a model's dtype: int8 weights in the linears, fp32 everywhere else."""

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": INT8,
}


@dataclass(frozen=True, slots=True)
class Device:
    """One place where a forward pass runs."""

    kind: Kind
    index: int
    name: str
    total_memory: int | None = None
    """Bytes of its own memory; None where it shares the host's."""
    bfloat16: bool = False
    """Whether it multiplies bfloat16 in hardware, as a GPU."""

    @property
    def torch(self) -> torch.device:
        """The same device in torch's words."""
        return torch.device("cpu") if self.kind == "cpu" else torch.device(self.kind, self.index)

    def __str__(self) -> str:
        """As a person would ask for it."""
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


@dataclass(frozen=True, slots=True)
class Hardware:
    """What this machine has, as far as torch can use it."""

    cpu: Device
    cuda: tuple[Device, ...] = ()
    mps: Device | None = None


def look() -> Hardware:
    """Ask torch what is here."""
    mps = Device("mps", 0, "Apple GPU") if torch.backends.mps.is_available() else None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cpu = Device("cpu", 0, platform.processor() or platform.machine())
    return Hardware(cpu, tuple(_cuda(index) for index in range(count)), mps)


def _cuda(index: int) -> Device:
    facts = torch.cuda.get_device_properties(index)
    # Ampere (8.0) is the first generation with bfloat16 units; older ones only emulate it.
    return Device("cuda", index, facts.name, facts.total_memory, bfloat16=facts.major >= 8)


def resolve(
    spec: str, hardware: Hardware | None = None, *, most: int | None = None
) -> list[Device]:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N`, `mps` or a comma-separated list into devices.

    `cuda` is every GPU that is visible, `most` of them at most: one worker each. Only `auto` falls
    back to the CPU.
    """
    here = hardware or look()
    found = [device for part in spec.split(",") for device in _named(part.strip().lower(), here)]
    return list(dict.fromkeys(found))[:most]


def _named(word: str, here: Hardware) -> Sequence[Device]:
    match word.partition(":"):
        case ("auto", "", ""):
            return here.cuda or ([here.mps] if here.mps else [here.cpu])
        case ("cpu", "", ""):
            return [here.cpu]
        case ("mps", "", "") if here.mps:
            return [here.mps]
        case ("cuda", "", "") if here.cuda:
            return here.cuda
        case ("cuda", ":", number) if number.isdecimal() and int(number) < len(here.cuda):
            return [here.cuda[int(number)]]
        case _:
            raise DeviceUnavailable(
                f"device {word!r} is not usable here; there is {_inventory(here)}",
                field="device",
                value=word,
            )


def _inventory(here: Hardware) -> str:
    return ", ".join(str(device) for device in (here.cpu, *here.cuda, here.mps) if device)


def resolve_dtype(asked: str, device: Device, *, family_allows_fp16: bool = True) -> torch.dtype:
    """The dtype of a model's linears; `torch.int8` stands for int8 linears in an fp32 model.

    `auto` is bfloat16 on GPUs that have it, float16 on others unless the family overflows it
    (Qwen3 does), float32 on the CPU.
    """
    if asked == "auto":
        return _own_dtype(device, family_allows_fp16=family_allows_fp16)
    dtype = _DTYPES.get(asked)
    if dtype is None:
        choices = ", ".join(("auto", *_DTYPES))
        raise ModelLoadFailed(f"dtype is one of {choices}", field="dtype", value=asked)
    if dtype == torch.float16 and not family_allows_fp16:
        raise ModelLoadFailed(
            "this family overflows float16; ask for bfloat16 or float32", field="dtype", value=asked
        )
    if dtype == INT8 and device.kind != "cpu":
        raise ModelLoadFailed("int8 is for the CPU only", field="dtype", value=asked)
    return dtype


def _own_dtype(device: Device, *, family_allows_fp16: bool) -> torch.dtype:
    if device.kind == "cpu":
        return torch.float32
    if device.bfloat16:
        return torch.bfloat16
    return torch.float16 if family_allows_fp16 else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """As the card, the settings and the fingerprint spell it."""
    return str(dtype).removeprefix("torch.")


def use_threads(threads: int | None) -> int:
    """Set the threads of a CPU pass, None for the cores this process may use; says how many."""
    torch.set_num_threads(threads or min(torch.get_num_threads(), quota_cores() or sys.maxsize))
    return torch.get_num_threads()


def quota_cores(limits: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Whole cores that the container's limit pays for; None where there is no limit.

    torch counts the machine's cores: with more threads than paid for, each pass waits for the
    threads that the kernel holds back.
    """
    try:
        quota, period = limits.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))
