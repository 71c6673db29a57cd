"""The cost of a denoising step with adapters: ours merged, ours by bypass, and PEFT's unmerged."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lycoris import Bypass, Patcher, load
from lycoris.patcher import StackEntry
from tests.bench.figures import Figure, Samples
from tests.bench.swap import fuse
from tests.bench.swap.bench import Bench
from tests.bench.swap.families import kohya, layers, peft

FAMILY = "LoRA r16, attention"
COUNTS = (1, 3)
PLAIN = "a step of the plain model"
MERGED, BYPASSED = "ours, merged", "ours, by bypass"
AT_MOST = 1.02  # the same code on the same storage: 1.00, and what two samples of one thing differ by
LEAST_MS = 500


def steps(bench: Bench) -> Iterator[Figure]:
    """A plain step, and one with one and with three adapters, merged and by bypass."""
    subject = bench.subject(twin=False)
    adapters = [layers(FAMILY, subject, seed) for seed in range(1, max(COUNTS) + 1)]
    stack = [StackEntry(load(kohya(group)), 0.8) for group in adapters]
    files = [bench.folder / f"step-{number}.safetensors" for number, _ in enumerate(adapters)]
    for file, group in zip(files, adapters, strict=True):
        file.write_bytes(peft(group))
    samples = Samples(bench.device)
    patcher, bypass = Patcher({"unet": subject.unet}), Bypass({"unet": subject.unet})

    for _ in range(2):
        with samples.timed(PLAIN):
            subject.step(bench.latent)
    often = max(1, round(LEAST_MS / samples.taken[PLAIN][1]))  # a small model's step alone is too short to time
    samples.forget()

    def timed(name: str) -> None:
        bench.tick(name)
        with samples.timed(name, often):
            for _ in range(often):
                subject.step(bench.latent)

    for turn in range(bench.step_rounds + 1):
        timed(PLAIN)
        for count in COUNTS:
            _applied(samples, patcher, stack[:count], f"{_adapters(count)}, {MERGED}", timed)
        for count in COUNTS:
            _applied(samples, bypass, stack[:count], f"{_adapters(count)}, {BYPASSED}", timed)
        if fuse.there():
            _unmerged(subject.unet, files, timed)
        if turn == 0:
            samples.forget()
    edge = bench.latent or subject.unet.config["sample_size"]
    about = Figure(part="steps", model=f"{subject.title}, latents of {edge}×{edge}")
    for name in (name for name in samples.taken if name.startswith("a step")):
        aim = AT_MOST if name.endswith(f"{_adapters(max(COUNTS))}, {MERGED}") else None
        yield samples.figure(about, name, over="" if name == PLAIN else PLAIN, to="a plain step", at_most=aim)
    for count in COUNTS:
        yield replace(about, what=f"{_adapters(count)}: merging pays", **_even(samples, count))
    if not fuse.there():
        yield replace(about, what="PEFT unmerged", note=fuse.ABSENT)


def _applied(
    samples: Samples, swapper: Patcher | Bypass, stack: Sequence[StackEntry], name: str, timed: Callable[[str], None]
) -> None:
    with samples.timed(f"on, {name}"):
        swapper.swap(stack)
    timed(f"a step with {name}")
    with samples.timed(f"off, {name}"):
        swapper.swap([])


def _unmerged(unet: Any, files: Sequence[Path], timed: Callable[[str], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, file in enumerate(files):
            unet.load_lora_adapter(str(file), prefix="unet", adapter_name=f"a{number}", low_cpu_mem_usage=True)
        for count in COUNTS:
            unet.set_adapters([f"a{number}" for number in range(count)], [0.8] * count)
            timed(f"a step with {_adapters(count)}, PEFT unmerged")
        unet.unload_lora()


def _even(samples: Samples, count: int) -> dict[str, Any]:
    """From how many steps on merging, on and off again, costs less than a bypass."""
    on_off = [
        samples.median(f"on, {_adapters(count)}, {how}") + samples.median(f"off, {_adapters(count)}, {how}")
        for how in (MERGED, BYPASSED)
    ]
    step = [samples.median(f"a step with {_adapters(count)}, {how}") for how in (MERGED, BYPASSED)]
    note = f"on and off {on_off[0]:.3g} ms merged, {on_off[1]:.3g} ms by bypass"
    if step[1] <= step[0]:
        return {"note": f"never, by these samples: {note}"}
    return {"value": max(0.0, (on_off[0] - on_off[1]) / (step[1] - step[0])), "unit": "steps and more", "note": note}


def _adapters(count: int) -> str:
    return "1 adapter" if count == 1 else f"{count} adapters"
