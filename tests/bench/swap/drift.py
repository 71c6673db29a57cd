"""The residue of many swaps over sixteen adapters: by restoring, by PEFT's unfusing, by subtracting."""

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lycoris import Patcher, load
from lycoris.patcher import StackEntry
from tests.bench.figures import Figure
from tests.bench.swap import fuse
from tests.bench.swap.bench import Bench
from tests.bench.swap.families import Tensors, kohya, layers, peft
from tests.bench.swap.subjects import Subject

FAMILY = "LoRA r16, attention"
ADAPTERS = 16
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
Way = Callable[[Bench, Subject, list[dict[str, Tensors]], Iterator[tuple[int, float]]], None]


def drift(bench: Bench) -> Iterator[Figure]:
    """Elements changed, and the distance of the weights from pristine, by method and dtype."""
    for dtype in DTYPES:
        for name, way in WAYS.items():
            precision = str(dtype).removeprefix("torch.")
            bench.tick(f"{name}, {precision}")
            subject = replace(bench, dtype=dtype).subject()
            about = Figure(part="drift", model=subject.title, what=f"{name}, {precision}: numbers changed")
            if way is _fusing and not fuse.there():
                yield replace(about, note=fuse.ABSENT)
                continue
            adapters = [layers(FAMILY, subject, seed) for seed in range(ADAPTERS)]
            source = random.Random(0)
            way(bench, subject, adapters, ((turn % ADAPTERS, source.uniform(0.2, 1)) for turn in range(bench.swaps)))
            changes = _changes(adapters[0])
            yield replace(
                about,
                value=subject.changed(),
                unit=f"of {sum(change.numel() for change in changes.values()):,}",
                note=f"{_left(subject, changes):.3g} % of an adapter after {bench.swaps:,} swaps",
            )


def _left(subject: Subject, changes: dict[str, Tensor]) -> float:
    """The distance of the weights from pristine, in percent of the size of one adapter's change (Euclidean norms)."""
    gone = {name: subject.unet.get_parameter(name).detach().float() - subject.twin[name].float() for name in changes}
    norms = [sum(float(one.square().sum()) for one in some.values()) ** 0.5 for some in (gone, changes)]
    return 100 * norms[0] / norms[1]


def _restoring(
    bench: Bench, subject: Subject, adapters: list[dict[str, Tensors]], turns: Iterator[tuple[int, float]]
) -> None:
    del bench
    patcher, loaded = Patcher({"unet": subject.unet}), [load(kohya(one)) for one in adapters]
    for number, strength in turns:
        patcher.swap([StackEntry(loaded[number], strength)])
    patcher.restore()


def _fusing(
    bench: Bench, subject: Subject, adapters: list[dict[str, Tensors]], turns: Iterator[tuple[int, float]]
) -> None:
    unet, file = subject.unet, bench.folder / "drift.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, one in enumerate(adapters):
            file.write_bytes(peft(one))
            unet.load_lora_adapter(str(file), prefix="unet", adapter_name=f"a{number}", low_cpu_mem_usage=True)
        for number, strength in turns:
            unet.set_adapters([f"a{number}"], [strength])
            unet.fuse_lora(adapter_names=[f"a{number}"])
            unet.unfuse_lora()
        unet.unload_lora()


def _subtracting(
    bench: Bench, subject: Subject, adapters: list[dict[str, Tensors]], turns: Iterator[tuple[int, float]]
) -> None:
    del bench
    changes = [_changes(one) for one in adapters]
    with torch.no_grad():
        for number, strength in turns:
            for name, change in changes[number].items():
                weight, much = subject.unet.get_parameter(name), (change * strength).to(subject.twin[name].dtype)
                weight.add_(much)
                weight.sub_(much)


WAYS: dict[str, Way] = {
    "ours": _restoring,
    "diffusers + PEFT, fuse and unfuse": _fusing,
    "adding and subtracting": _subtracting,
}


def _changes(adapter: dict[str, Tensors]) -> dict[str, Tensor]:
    """A LoRA's change of each weight, in float32; alpha is the rank."""
    factors = {path: (one["lora_up.weight"].float(), one["lora_down.weight"].float()) for path, one in adapter.items()}
    return {f"{path}.weight": up @ down for path, (up, down) in factors.items()}
