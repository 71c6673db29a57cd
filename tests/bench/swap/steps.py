"""What a denoising step costs with adapters on: ours are in the weights, PEFT's and a bypass run beside them."""

import warnings
from collections.abc import Iterator
from dataclasses import replace

from lycoris.adapter import load
from lycoris.patcher import Patcher, Worn
from tests.bench.figures import Figure, Samples
from tests.bench.swap import fuse
from tests.bench.swap.bench import Bench
from tests.bench.swap.families import kohya, layers, peft

FAMILY = "LoRA r16, attention"
COUNTS = (1, 3)
PLAIN = "a step of the plain model"
AT_MOST = 1.0


def steps(bench: Bench) -> Iterator[Figure]:
    """A plain step, and one with one and with three adapters, merged and beside."""
    subject = bench.subject(twin=False)
    adapters = [layers(FAMILY, subject, seed) for seed in range(1, max(COUNTS) + 1)]
    stack = [Worn(load(kohya(group)), 0.8) for group in adapters]
    files = [bench.folder / f"step-{number}.safetensors" for number, _ in enumerate(adapters)]
    for file, group in zip(files, adapters, strict=True):
        file.write_bytes(peft(group))
    samples = Samples(bench.device)
    patcher = Patcher({"unet": subject.unet})

    def timed(name: str) -> None:
        bench.tick(name)
        with samples.timed(name):
            subject.step(bench.latent)

    for turn in range(bench.step_rounds + 1):
        timed(PLAIN)
        for count in COUNTS:
            patcher.swap(stack[:count])
            timed(f"a step with {_adapters(count)}, ours")
        patcher.restore()
        if fuse.there():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for number, file in enumerate(files):
                    subject.unet.load_lora_adapter(
                        str(file), prefix="unet", adapter_name=f"a{number}", low_cpu_mem_usage=True
                    )
                for count in COUNTS:
                    subject.unet.set_adapters([f"a{number}" for number in range(count)], [0.8] * count)
                    timed(f"a step with {_adapters(count)}, PEFT unmerged")
                subject.unet.unload_lora()
        if turn == 0:
            samples.forget()
    edge = bench.latent or subject.unet.config["sample_size"]
    about = Figure(part="steps", model=f"{subject.title}, latents of {edge}×{edge}")
    for name in samples.taken:
        aim = AT_MOST if name.endswith(f"{_adapters(max(COUNTS))}, ours") else None
        yield samples.figure(about, name, over=PLAIN, to="a plain step", at_most=aim)
    if not fuse.there():
        yield replace(about, what="PEFT unmerged", note=fuse.ABSENT)


def _adapters(count: int) -> str:
    return "1 adapter" if count == 1 else f"{count} adapters"
