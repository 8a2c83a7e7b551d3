"""Normalisation of hidden states: LayerNorm where there is a bias, else by the root mean square.

On the CPU in fp32 by our kernel, elsewhere by torch.
"""

import torch
from torch.nn import functional

from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.trust import trusted_kernels


class Norm:
    """Normalises the last dimension; its weights are kept in fp32 and narrowed to what comes in."""

    def __init__(
        self, gain: torch.Tensor, bias: torch.Tensor | None, epsilon: float, device: Device
    ) -> None:
        self._gain = gain.to(device.torch, torch.float32).contiguous()
        self._bias = None if bias is None else bias.to(device.torch, torch.float32).contiguous()
        self._epsilon = epsilon
        self._kernels = trusted_kernels() if device.kind == "cpu" else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise tokens x width, or tokens x heads x width."""
        if self._kernels and x.dtype == torch.float32:
            return self._kernels.norm(x, self._gain, self._bias, self._epsilon)
        gain = self._gain.to(x.dtype)
        if self._bias is None:
            return functional.rms_norm(x, gain.shape, gain, self._epsilon)
        return functional.layer_norm(x, gain.shape, gain, self._bias.to(x.dtype), self._epsilon)
