"""A swap by diffusers with PEFT: load and fuse, then unfuse and unload."""

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.bench.figures import Figure, Samples
from tests.bench.swap.subjects import Subject

LOAD, FUSE, UNFUSE, UNLOAD = "load", "set + fuse", "unfuse", "unload"
ABSENT = "PEFT is not installed (the test extra has it)"
AT_LEAST = 5.0


def there() -> bool:
    """Tell whether PEFT is installed."""
    return importlib.util.find_spec("peft") is not None


def turn(samples: Samples, subject: Subject, file: Path) -> None:
    """One adapter on and off again, as their documentation does it; the weights are left as unfusing leaves them."""
    if not there():
        return
    unet = subject.unet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with samples.timed(LOAD):
            unet.load_lora_adapter(str(file), prefix="unet", adapter_name="a", low_cpu_mem_usage=True)
        with samples.timed(FUSE):
            unet.set_adapters(["a"], [0.8])
            unet.fuse_lora(adapter_names=["a"])
        with samples.timed(UNFUSE):
            unet.unfuse_lora()
        with samples.timed(UNLOAD):
            unet.unload_lora()
    unet.requires_grad_(False)


def figures(samples: Samples, about: Figure, limit: str, swap: str, file: tuple[str, str]) -> Iterator[Figure]:
    """Their times, how many times ours they are, and the aim.

    swap: our samples of a swap in a service that holds its adapters; file: those of one from a file, and of taking off.
    """
    if not there():
        yield replace(about, what="diffusers + PEFT", note=ABSENT)
        return
    theirs, ours = f"diffusers + PEFT: {LOAD} + {FUSE} + {UNFUSE} + {UNLOAD}", ", ".join(file)
    for whole, parts in {theirs: (LOAD, FUSE, UNFUSE, UNLOAD), ours: file}.items():
        for values in zip(*(samples.taken[part] for part in parts), strict=True):
            samples.add(whole, sum(values))
    for part in (LOAD, FUSE, UNFUSE, UNLOAD):
        yield samples.figure(about, part, f"diffusers + PEFT: {part}", over=limit, to="the limit")
    for mine in (swap, ours):
        yield samples.figure(about, theirs, over=mine, to=f"ours ({mine})", at_least=AT_LEAST)
