"""The process that `memory` looks at: one model, one patcher, five swaps. Prints one line of JSON."""

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from lycoris import MappedFolder, Patcher, load
from lycoris.patcher import StackEntry
from tests.bench.swap.families import kohya, layers, touched
from tests.bench.swap.subjects import subject

KIB = 1024
HELD = "RssAnon"  # what no file backs: pages of a mapped file are there as long as nobody needs the memory


def main(model: str, family: str, dtype: str, threads: str, folder: str = "") -> None:
    """Swap, and look at the memory after each. folder: where the model's own file is written, to keep no copies."""
    torch.set_num_threads(int(threads))
    one = subject(model, "cpu", getattr(torch, dtype), twin=False)
    adapters = [load(kohya(layers(family, one, seed))) for seed in (1, 2)]
    torch.ones(64, 64).mm(torch.ones(64, 64))  # what the first product sets up for good
    largest = max(one.unet.get_parameter(name).numel() * 4 for name in touched(family, one))
    if folder:
        (Path(folder) / "unet").mkdir(exist_ok=True)
        save_file(dict(one.unet.state_dict()), Path(folder) / "unet" / "model.safetensors")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what making the adapters left free would be taken for memory of the swap
    base, resident = _resident(HELD), _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    patcher = Patcher({"unet": one.unet}, "file" if folder else "host", MappedFolder(folder) if folder else None)
    patcher.swap([StackEntry(adapters[0], 0.8)])
    backups = sum(size for location, size in patcher.pristine_bytes.items() if location != "file")
    first = _resident(HELD) - base - backups
    for turn in range(4):
        patcher.swap([StackEntry(adapters[(turn + 1) % 2], 0.5)])
    found = {
        "base": base,
        "backups": backups,
        "largest": largest,
        "after the first swap": first,
        "after four more": _resident(HELD) - base - backups,
        "at the peak of all five": None if folder else _resident("VmHWM") - resident - backups,
    }
    print(json.dumps(found))


def _resident(line: str) -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith(f"{line}:")) * KIB


if __name__ == "__main__":
    main(*sys.argv[1:])
