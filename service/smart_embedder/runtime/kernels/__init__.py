"""Products, attention and norms of the CPU in C: torch's own leave half of the processor idle.

They are compiled into the wheel (`hatch_build.py`), once for each kind of processor in `_KINDS`. On
other processors, and where nothing was compiled, `kernels()` is None and torch computes.
"""

import ctypes
import re
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from smart_embedder.runtime.packing import Pack

_AVX2 = {"abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_KINDS = {
    "avx512": _AVX2 | {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl", "_vnni")},
    "avx2": _AVX2,
}
"""What a processor must say of itself, the best kind first."""
_ROWS = 960
"""Rows of a product at a time: whole chunks of either kind, 16 MB of scratch if 4,096 are wide."""
_BESIDE = 4
"""Numbers of scratch for each row beside its own, as `bytes.c` wants them."""
_FAR = 1 << 40
"""How far a token sees that has no window."""

_Pointer, _Long, _Int = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
_PRODUCT = (_Pointer, _Pointer, _Long, *[_Pointer] * 3, _Long, _Long)
_FUNCTIONS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "use_pool": ((_Pointer, _Pointer), None),
    "packed_size": ((_Long, _Long), _Long),
    "packed_bytes": ((_Pointer, _Long, _Long), _Long),
    "pack": ((_Pointer, _Pointer, _Long, _Long), None),
    "pack_bytes": ((_Pointer, _Pointer, _Long, _Long), None),
    "product": (_PRODUCT, None),
    "product_of_bytes": (_PRODUCT, None),
    "attention": (
        (*[_Pointer, _Long] * 3, *[_Pointer] * 3, *[_Long] * 6, ctypes.c_float, _Long),
        None,
    ),
    "norm": (
        (_Pointer, _Long, _Long, *[_Pointer] * 3, _Long, _Long, ctypes.c_float, _Long),
        None,
    ),
}
"""What each function takes and gives."""


class Kernels:
    """The compiled functions, on torch's pool of threads."""

    def __init__(self, library: ctypes.CDLL, openmp: ctypes.CDLL) -> None:
        for name, (takes, gives) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = takes, gives
        library.use_pool(
            ctypes.cast(openmp.GOMP_parallel, _Pointer), ctypes.cast(openmp.GOMP_barrier, _Pointer)
        )
        self._library = library
        self._scratch = _Scratch()

    def product(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool) -> "Product":
        """Prepare the fp32 product of rows with a weight (out x in)."""
        weight = weight.float().contiguous()
        packed = _room(self._library.packed_size(*weight.shape), torch.float32)
        self._library.pack(_at(weight), _at(packed), *weight.shape)
        bias = None if bias is None else bias.float().contiguous()
        fixed = (packed, bias, None, None)
        return Product(self._library.product, self._scratch, fixed, weight.shape, gelu=gelu)

    def product_of_bytes(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        scales: torch.Tensor,
        sums: torch.Tensor,
        *,
        gelu: bool,
    ) -> "Product":
        """Prepare a product in int8; `scales` and `sums` are those of the weight's rows.

        Each row that comes in is rounded to bytes by its own range first. The bias is read at every
        call: who changes it in place changes the product.
        """
        if weight.dtype != torch.int8:
            raise TypeError(f"a product of bytes takes int8, not {weight.dtype}")
        weight = weight.contiguous()
        packed = _room(self._library.packed_bytes(_at(weight), *weight.shape), torch.int8)
        self._library.pack_bytes(_at(weight), _at(packed), *weight.shape)
        fixed = (packed, bias, scales, sums)
        function = self._library.product_of_bytes
        return Product(function, self._scratch, fixed, weight.shape, gelu=gelu)

    def attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        pack: Pack,
        *,
        causal: bool,
        window: int | None,
        scale: float,
    ) -> torch.Tensor:
        """Attend each text to itself; see `runtime.attention.attend`."""
        _check(q, k, v)
        q, k, v = (_by_token(part) for part in (q, k, v))
        out = q.new_empty(q.shape)
        back = _FAR if window is None else window - 1
        self._library.attention(
            _at(q), q.stride(0), _at(k), k.stride(0), _at(v), v.stride(0), _at(out),
            self._scratch.of(2 * k.numel()), _at(pack.cu_seqlens), len(pack.lengths),
            q.shape[1], k.shape[1], q.shape[2], back, 0 if causal else back, scale,
            torch.get_num_threads(),
        )  # fmt: skip
        return out

    def norm(
        self, x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor | None, epsilon: float
    ) -> torch.Tensor:
        """Normalise the last dimension; around its mean where there is a bias, else around 0."""
        _check(x, gain, bias)
        heads, width = (1 if x.dim() == 2 else x.shape[1]), x.shape[-1]
        _check_length(width, gain, bias)
        if x.stride(-1) != 1 or (x.dim() == 3 and x.stride(1) != width):
            x = x.contiguous()
        y = x.new_empty(x.shape)
        self._library.norm(
            _at(x), x.stride(0), heads, _at(gain), _at(bias), _at(y), len(x) * heads, width,
            epsilon, torch.get_num_threads(),
        )  # fmt: skip
        return y


class _Weight(ctypes.Structure):
    """`Weight` of product.h."""

    _fields_ = (
        ("packed", _Pointer),
        ("bias", _Pointer),
        ("scales", _Pointer),
        ("offsets", _Pointer),
        ("depth", _Long),
        ("width", _Long),
        ("curved", _Int),
    )


class Product:
    """Multiplies rows by a packed weight, and does what follows while the result is in cache."""

    def __init__(
        self,
        function: Any,
        scratch: "_Scratch",
        fixed: tuple[torch.Tensor | None, ...],
        shape: tuple[int, ...],
        *,
        gelu: bool,
    ) -> None:
        self._function = function
        self._scratch = scratch
        self._width, self._depth = shape
        _check(*fixed[1:])
        _check_length(self._width, *fixed[1:])
        self._fixed = fixed  # C knows only where they are
        self._weight = _Weight(*map(_at, fixed), self._depth, self._width, gelu)

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply; a row's numbers do not depend on the rows beside it."""
        _check(x, residual)
        count, depth = x.shape
        if depth != self._depth:
            raise ValueError(f"rows of {depth} numbers, where the weights have {self._depth}")
        if residual is not None and residual.shape != (count, self._width):
            raise ValueError(f"a residual of {tuple(residual.shape)} for {count} x {self._width}")
        x = x if x.stride(1) == 1 else x.contiguous()
        residual = None if residual is None else residual.contiguous()
        y = x.new_empty(count, self._width)
        for start in range(0, count, _ROWS):
            rows = min(_ROWS, count - start)
            self._function(
                ctypes.addressof(self._weight), _at(x, start), x.stride(0), _at(residual, start),
                _at(y, start), self._scratch.of(rows * (depth + _BESIDE)), rows,
                torch.get_num_threads(),
            )  # fmt: skip
        return y


class _Scratch(threading.local):
    """Room that a thread uses again and again: new pages at every call would cost a tenth of it."""

    def __init__(self) -> None:
        self._room = _room(0, torch.float32)

    def of(self, numbers: int) -> int:
        """Where there is room for so many numbers; what was there before is lost."""
        if self._room.numel() < numbers:
            self._room = _room(numbers, torch.float32)
        return self._room.data_ptr()


def _room(numbers: int, dtype: torch.dtype) -> torch.Tensor:
    """Room for so many numbers, whatever this process has made torch's default."""
    return torch.empty(numbers, dtype=dtype, device="cpu")


def _check(*tensors: torch.Tensor | None) -> None:
    """C believes what it is told: it would read and write beyond the end of narrower numbers."""
    for tensor in tensors:
        if tensor is not None and not (tensor.dtype is torch.float32 and tensor.is_cpu):
            raise TypeError(f"the kernels take fp32 on the CPU, not {tensor.dtype}")


def _check_length(width: int, *parts: torch.Tensor | None) -> None:
    for part in parts:
        if part is not None and not (part.shape == (width,) and part.is_contiguous()):
            raise ValueError(f"{tuple(part.shape)} numbers for rows of {width}")


def _at(tensor: torch.Tensor | None, row: int = 0) -> int | None:
    """Where a row begins; the first, without asking the tensor three questions more."""
    if tensor is None:
        return None
    at = tensor.data_ptr()
    return at + row * tensor.stride(0) * tensor.element_size() if row else at


def _by_token(part: torch.Tensor) -> torch.Tensor:
    """Make sure that all numbers of a token stand together; between tokens there may be others."""
    return part if part.stride()[1:] == (part.shape[2], 1) else part.contiguous()


@cache
def kernels() -> Kernels | None:
    """The kernels for this processor, unless there are none."""
    flags, openmp = _flags(), _openmp()
    for kind, needed in _KINDS.items():
        if openmp and needed <= flags:
            library = Path(__file__).with_name(f"{kind}.so")
            with suppress(OSError, AttributeError):  # nothing compiled, or no OpenMP that we know
                return Kernels(ctypes.CDLL(str(library)), ctypes.CDLL(openmp))
    return None


def _flags() -> set[str]:
    """What the processor says it can do; nothing where the system is not Linux on x86."""
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def _openmp() -> str | None:
    """Where the OpenMP lies that torch has loaded."""
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return None
    found = re.findall(r"\s(/.*/lib(?:gomp|iomp5|omp)\b[^/]*)$", maps, re.MULTILINE)
    return min(found, key=lambda path: "/torch/lib/" not in path, default=None)
