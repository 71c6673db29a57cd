"""What a swap costs, and why taking off is copying back: times on the bundled UNet, drift of the other way.

`python -m tests.bench.swap [--model DIR] [--swaps 1000]` prints two tables, and one line of JSON last.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

import workers.models
from lycoris.adapter import Adapter, load
from lycoris.patcher import Patcher, Worn
from lycoris.targets import resolve
from tests.bench.provenance import provenance
from tests.lycoris import zoo

BUNDLED = Path(workers.models.__file__).parent / "emoji-64"
FAMILIES = {"LoCon": "lora", "LoHa": "loha", "LoKr": "lokr-low", "DoRA": "dora-lora-output"}


def adapter(unet: torch.nn.Module, algorithm: str, seed: int) -> Adapter:
    """Return an adapter of the algorithm on every linear layer and convolution that it can be on."""
    layers = {}
    for path, module in unet.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            divides = len(module.weight) % 2 == 0 and module.weight.shape[1] % 4 == 0
            if algorithm != "lokr-low" or divides:
                layers[f"lora_unet_{path.replace('.', '_')}"] = zoo.tensors(algorithm, module.weight, seed)
    return load(zoo.file(layers))


def times(unet: torch.nn.Module, runs: int) -> dict[str, float]:
    """Return what is worn -> median milliseconds of a swap to it from another stack that touches the same weights."""
    patcher = Patcher({"unet": unet})
    worn = {name: Worn(adapter(unet, algorithm, 1), 0.1) for name, algorithm in FAMILIES.items()}
    other = [Worn(adapter(unet, "lora", 2), 0.1)]
    stacks = {name: [one] for name, one in worn.items()} | {"all four": list(worn.values()), "nothing": []}
    found: dict[str, list[float]] = {name: [] for name in (*stacks, "the same again")}
    for _ in track(range(runs), "swapping"):
        for name, stack in stacks.items():
            patcher.swap(other)
            found[name].append(_timed(patcher, stack))
        found["the same again"].append(_timed(patcher, []))
    return {name: statistics.median(values) for name, values in found.items()}


def drift(unet: torch.nn.Module, swaps: int, dtype: torch.dtype) -> float:
    """Return how far one weight is from pristine after adding and subtracting adapters, in sizes of one adapter."""
    one = [adapter(unet, "lora", seed) for seed in range(4)]
    target = max(
        resolve(one[0], {"unet": unet}).targets, key=lambda target: unet.get_parameter(target.parameter).numel()
    )
    weight = unet.get_parameter(target.parameter).detach().to(dtype)
    pristine = weight.clone()
    deltas = []
    for each in one:
        change = torch.zeros(weight.shape)
        plan = resolve(each, {"unet": unet})
        next(t for t in plan.targets if t.parameter == target.parameter).change.add_change(change, weight, 0.05)
        deltas.append(change)
    for swap in range(swaps):
        change = deltas[swap % len(deltas)] * (1 + swap % 7) / 4
        weight = (weight + change).to(dtype)
        weight = (weight - change).to(dtype)
    return ((weight - pristine).float().norm() / deltas[0].norm()).item()


def _timed(patcher: Patcher, stack: list[Worn]) -> float:
    begin = time.perf_counter()
    patcher.swap(stack)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--swaps", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    unet = UNet2DConditionModel.from_pretrained(options.model, subfolder="unet")
    console = Console()
    milliseconds = times(unet, options.runs)
    table = Table(
        "swap to", "median ms", title=f"UNet of {sum(p.numel() for p in unet.parameters()) / 1e6:.1f} M numbers"
    )
    for name, value in milliseconds.items():
        table.add_row(name, f"{value:.2f}")
    console.print(table)
    drifts = {str(dtype).removeprefix("torch."): drift(unet, options.swaps, dtype) for dtype in zoo.DTYPES}
    table = Table("dtype", "by subtracting", "by restoring", title=f"left of an adapter after {options.swaps} swaps")
    for name, value in drifts.items():
        table.add_row(name, f"{100 * value:.3f} %", "0, bit for bit (a test)")
    console.print(table)
    print(json.dumps({"swap_ms": milliseconds, "drift_by_subtracting": drifts, **provenance()}))


if __name__ == "__main__":
    main()
