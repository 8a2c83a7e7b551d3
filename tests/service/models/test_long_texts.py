"""A text of 8,192 tokens runs in bounded memory: one layer of full width shows what all 24 need."""

import subprocess
import sys

GIB = 1 << 30

# In a process of its own, as only a whole process knows its peak.
SCRIPT = """
import resource
import numpy as np, torch
from smart_embedder.models.encoder import Encoder, Shape
from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.weights import Weights

class Sizes(dict):
    def __missing__(self, name):
        inner, outer = "intermediate" in name, ".output.dense" in name and "attention" not in name
        if name.endswith("bias") or "LayerNorm" in name:
            return torch.ones(4096 if inner else 1024)
        rows = 8194 if "position" in name else 100 if "embeddings" in name else 1024
        return torch.full((4096 if inner else rows, 4096 if outer else 1024), 0.01)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

shape = Shape(1024, 1, 16, 1e-5, 100, 2, 8192)
with torch.inference_mode():
    cpu = Device("cpu", 0, "cpu")
    encoder = Encoder(Weights(Sizes()), shape, dtype=torch.float32, device=cpu)
    before = peak()
    text = np.arange(8192, dtype=np.int32) % 100
    encoder(Pack.of([text], cpu.torch), lambda: None)
    print(peak() - before)
"""


def test_the_longest_text_needs_less_than_3_gb_over_the_weights() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=110
    )
    assert int(done.stdout) < 3 * GIB
    # Far below: the states of a layer, never a square of scores (4 GiB for 16 heads).
    assert int(done.stdout) < 1 * GIB
