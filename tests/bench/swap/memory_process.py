"""The process that `memory` looks at: one model, one patcher, five swaps. Prints one line of JSON."""

import gc
import json
import sys
from pathlib import Path

import torch

from lycoris.adapter import load
from lycoris.patcher import Patcher, Worn
from tests.bench.swap.families import kohya, layers, touched
from tests.bench.swap.subjects import subject

KIB = 1024


def main(model: str, family: str, dtype: str, threads: str) -> None:
    """Swap, and look at the memory after each."""
    torch.set_num_threads(int(threads))
    one = subject(model, "cpu", getattr(torch, dtype), twin=False)
    adapters = [load(kohya(layers(family, one, seed))) for seed in (1, 2)]
    torch.ones(64, 64).mm(torch.ones(64, 64))  # what the first product sets up for good
    largest = max(one.unet.get_parameter(name).numel() * 4 for name in touched(family, one))
    base = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    patcher = Patcher({"unet": one.unet})
    patcher.swap([Worn(adapters[0], 0.8)])
    first = _resident("VmRSS") - base - patcher.touched_bytes
    for turn in range(4):
        patcher.swap([Worn(adapters[(turn + 1) % 2], 0.5)])
    found = {
        "base": base,
        "touched": patcher.touched_bytes,
        "largest": largest,
        "after the first swap": first,
        "after four more": _resident("VmRSS") - base - patcher.touched_bytes,
        "at the peak of all five": _resident("VmHWM") - base - patcher.touched_bytes,
    }
    print(json.dumps(found))


def _resident(line: str) -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith(f"{line}:")) * KIB


if __name__ == "__main__":
    main(*sys.argv[1:])
