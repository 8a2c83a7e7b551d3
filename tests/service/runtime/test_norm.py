"""A norm is torch's own, in every precision, with the kernels and without."""

import pytest
import torch
from torch.nn import functional

from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.norm import Norm

CPU = Device("cpu", 0, "cpu")
DICE = torch.Generator().manual_seed(5)
GAIN, BIAS = torch.randn(48, generator=DICE), torch.randn(48, generator=DICE)


@pytest.mark.parametrize("shape", [(9, 48), (9, 4, 48)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_is_layer_norm_with_a_bias_and_rms_norm_without(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=DICE).mul_(3).add_(2).to(dtype)
    gain, bias = GAIN.to(dtype), BIAS.to(dtype)
    known = (
        functional.layer_norm(x, (48,), gain, bias, 1e-2),
        functional.rms_norm(x, (48,), gain, 1e-2),
    )
    found = (Norm(GAIN, BIAS, 1e-2, CPU)(x), Norm(GAIN, None, 1e-2, CPU)(x))
    for ours, theirs in zip(found, known, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_half_weights_are_kept_in_fp32() -> None:
    x = torch.randn(9, 48, generator=DICE)
    wide = Norm(GAIN.bfloat16().float(), BIAS.bfloat16().float(), 1e-5, CPU)(x)
    assert torch.equal(Norm(GAIN.bfloat16(), BIAS.bfloat16(), 1e-5, CPU)(x), wide)
