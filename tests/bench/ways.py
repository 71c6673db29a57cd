"""A step by each way of applying, merge, bypass and recompute, as a ratio to a plain step, for each algorithm.

`python -m tests.bench.ways [--rounds 5] [--quantize int8 fp8 nf4]` takes a block shaped like those of SD 1.5 (a
residual block and a transformer block, of 320 channels at 32×32) and one of FLUX.1's single blocks at half its width
(1536, 256 tokens), each in float32 and with its weights in eight bits (integers and a scale a row, multiplied out at
every call, as libraries do on a CPU); with `--quantize` instead as the `quantize` of a base makes them. Their plain
steps are measured against float32 too.
CPU seconds of one thread; each sample beside one of the plain step.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lycoris import Bypass, Patcher, Recompute, StackEntry, StackRefused, load, shapes_of
from tests.bench.provenance import provenance
from tests.lycoris import zoo
from tests.lycoris.kernels.test_stored import quantise as in_eight_bits
from workers.models.quantising import WAYS as QUANTISERS
from workers.models.quantising import quantise

ALGORITHMS = ("lora", "lokr-low", "loha", "dora-lora-output", "oft", "boft", "glora", "peft-hra")
WAYS = ("merge", "bypass", "recompute")
STORED = ("float32", "int8")
LIBRARY = "quantize: "  # in front of what a library makes
CHANNELS, SIDE, TEXT = 320, 32, 768
WIDTH, TOKENS, HEAD = 1536, 256, 128


class OfUNet(nn.Module):
    """A residual block and a transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResnetBlock2D(in_channels=CHANNELS, out_channels=CHANNELS, temb_channels=4 * CHANNELS)
        self.block = BasicTransformerBlock(CHANNELS, 8, CHANNELS // 8, cross_attention_dim=TEXT)

    def forward(self, x: Tensor, time_embedding: Tensor, text: Tensor) -> Tensor:
        x = self.resnet(x, time_embedding)
        return self.block(x.flatten(2).transpose(1, 2), encoder_hidden_states=text)


def of_unet() -> tuple[nn.Module, Callable[[nn.Module], Any]]:
    x, embedding, text = torch.randn(2, CHANNELS, SIDE, SIDE), torch.randn(2, 4 * CHANNELS), torch.randn(2, 77, TEXT)
    return OfUNet(), lambda model: model(x, embedding, text)


def of_flux() -> tuple[nn.Module, Callable[[nn.Module], Any]]:
    x, text, embedding = torch.randn(1, TOKENS - 64, WIDTH), torch.randn(1, 64, WIDTH), torch.randn(1, WIDTH)
    made = FluxSingleTransformerBlock(WIDTH, WIDTH // HEAD, HEAD)
    return made, lambda model: model(x, text, embedding)


BLOCKS = {"SD 1.5": of_unet, "FLUX.1": of_flux}


def adapter(model: nn.Module, algorithm: str) -> StackEntry:
    """An adapter on every linear and convolutional layer."""
    shapes = shapes_of(model)
    layers = {
        f"unet.{name}": zoo.tensors(algorithm, torch.zeros(shapes[f"{name}.weight"]))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    return StackEntry(load(zoo.file(layers)), 0.1)


def ratios(model: nn.Module, step: Callable[[nn.Module], Any], rounds: int) -> Iterator[tuple[str, str, float | None]]:
    """Yield algorithm, way and the median of a step's time to that of a plain one; None where a way is impossible."""
    ways = (Patcher({"unet": model}), Bypass({"unet": model}), Recompute({"unet": model}))
    for algorithm in ALGORITHMS:
        stack = [adapter(model, algorithm)]
        for name, way in zip(WAYS, ways, strict=True):
            found = []
            for _ in range(rounds + 1):  # the first of them warms up
                try:
                    way.swap(stack)
                except StackRefused:
                    break
                applied = timed(step, model)
                way.restore()
                found.append(applied / timed(step, model))
            yield algorithm, name, statistics.median(found[1:]) if found else None


def stored_as(model: nn.Module, stored: str) -> None:
    """Quantise a block's layers: as the tests do, or by the library of `quantize`, its linear ones."""
    if stored == "int8":
        for layer in [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]:
            in_eight_bits(layer)
    elif stored != "float32":
        to: Any = stored.removeprefix(LIBRARY)
        quantise({"unet": nn.Sequential(nn.ModuleList([model]))}, to, torch.float32)


def of_plain(made: Callable[[], tuple[nn.Module, Callable[[nn.Module], Any]]], stored: str, rounds: int) -> float:
    """Return the median of a plain step's time to that of the same block in float32."""
    (model, step), (floats, _) = made(), made()
    stored_as(model.eval().requires_grad_(False), stored)
    with torch.inference_mode():
        return statistics.median([timed(step, model) / timed(step, floats.eval()) for _ in range(rounds + 1)][1:])


def timed(step: Callable[[nn.Module], Any], model: nn.Module) -> float:
    """CPU seconds of a step."""
    began = time.process_time()
    step(model)
    return time.process_time() - began


def measured(rounds: int, storages: Sequence[str]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Block and storage -> algorithm -> way -> ratio."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for (name, made), stored in ((block, stored) for block in BLOCKS.items() for stored in storages):
        torch.manual_seed(0)
        model, step = made()
        model.eval().requires_grad_(False)
        stored_as(model, stored)
        with torch.inference_mode():
            for algorithm, way, ratio in ratios(model, step, rounds):
                found.setdefault(f"{name}, {stored}", {}).setdefault(algorithm, {})[way] = ratio
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quantize", nargs="+", choices=list(QUANTISERS), default=[])
    asked = parser.parse_args(arguments)
    rounds, storages = asked.rounds, [f"{LIBRARY}{one}" for one in asked.quantize] or STORED
    torch.set_num_threads(1)
    for (name, made), stored in ((block, stored) for block in BLOCKS.items() for stored in storages):
        print(f"A plain step ÷ one in float32, {name}, {stored}: {of_plain(made, stored, rounds):.2f}")
    found = measured(rounds, storages)
    for block, by_algorithm in found.items():
        table = Table("algorithm", *WAYS, title=f"A step ÷ a plain step: {block}")
        for algorithm, by_way in by_algorithm.items():
            values = ("–" if by_way[way] is None else f"{by_way[way]:.2f}" for way in WAYS)
            table.add_row(algorithm, *values)
        Console().print(table)
    print(json.dumps({"ways": found, "rounds": rounds} | provenance()))


if __name__ == "__main__":
    main()
