"""How much of the GPUs' memory is in use, as PyTorch and the driver count it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes over all CUDA devices of this process; zeros where there is none."""

    allocated: int = 0
    reserved: int = 0
    free: int = 0
    total: int = 0


def device_memory() -> DeviceMemory:
    """Read the allocator and the driver."""
    import torch  # noqa: PLC0415 - who only counts needs no torch before the models do

    if not torch.cuda.is_available():
        return DeviceMemory()
    devices = range(torch.cuda.device_count())
    free, total = (
        sum(figures) for figures in zip(*map(torch.cuda.mem_get_info, devices), strict=True)
    )
    return DeviceMemory(
        allocated=sum(map(torch.cuda.memory_allocated, devices)),
        reserved=sum(map(torch.cuda.memory_reserved, devices)),
        free=free,
        total=total,
    )
