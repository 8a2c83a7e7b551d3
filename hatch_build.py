"""Compiles the kernels of the CPU into the wheel, by a compiler that the package index carries.

They need neither a compiler nor a C library of the machine: one file for each kind of processor.
"""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_KINDS = {"avx512": "x86_64_v4+avx512vnni", "avx2": "x86_64_v3"}
_FOLDER = Path("service/smart_embedder/runtime/kernels")
_FLAGS = (
    "-O3",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fPIC",
    "-shared",
    "-s",
    "-nostdlib",
    "-ffreestanding",
)


class Kernels(BuildHookInterface[Any]):
    """Runs before the wheel is put together, for `pip install --editable` too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's signature
        """Compile, and name the platform that the wheel is now for; elsewhere it stays pure."""
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            return
        folder = Path(self.root) / _FOLDER
        sources = sorted(str(path) for path in folder.glob("*.c"))
        for kind, processor in _KINDS.items():
            target = ("-target", "x86_64-linux-gnu", f"-mcpu={processor}")
            output = ("-o", str(folder / f"{kind}.so"))
            compiler = (sys.executable, "-m", "ziglang", "cc")
            subprocess.run([*compiler, *_FLAGS, *target, *sources, *output], check=True)  # noqa: S603 - our own words
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-manylinux_2_28_x86_64"
