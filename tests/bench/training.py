"""A step of a training against a plain forward and backward, and against the LyCORIS library's modules.

`python -m tests.bench.training [--rounds 5] [--batch 8]` takes the bundled UNet and, for each algorithm, the forward
and backward of a batch with the adapter on its blocks' layers: ours, ours with gradient checkpointing, and the LyCORIS
library's own modules in a process of their own. Each sample stands beside one of the plain UNet in the same process,
which has gradients for its input alone. CPU seconds of one thread.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.table import Table

from tests.bench.provenance import provenance

ROOT = Path(__file__).parents[2]
UNET = ROOT / "workers" / "models" / "emoji-64" / "unet"
BLOCKS = ("down_blocks*", "mid_block*", "up_blocks*")
# Ours, theirs, and the options by which both have about as many numbers
ALGORITHMS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "locon": ("locon", {}, {}),
    "lokr": ("lokr", {"factor": 8}, {"factor": 8}),
    "loha": ("loha", {}, {}),
    "oft": ("diag-oft", {}, {}),
    "dora": ("locon", {}, {"dora_wd": True}),
}
RANK = 4
THEIRS = "--theirs"


def unet() -> Any:
    """The bundled UNet, frozen."""
    return UNet2DConditionModel.from_pretrained(UNET, local_files_only=True).requires_grad_(False).eval()  # type: ignore[union-attr]


def step(model: Any, batch: int) -> Callable[[], None]:
    """A forward and a backward of a batch."""
    chance = torch.Generator().manual_seed(0)
    sample, text = torch.randn(batch, 24, 8, 8, generator=chance), torch.randn(batch, 24, 128, generator=chance)
    sample.requires_grad_(True)
    times = torch.arange(batch) * 100 % 1000

    def once() -> None:
        model(sample, times, text, return_dict=False)[0].square().mean().backward()

    return once


def ratios(
    once: Callable[[], None], ways: Mapping[str, Callable[[], AbstractContextManager[Any]]], rounds: int
) -> dict[str, float]:
    """Way -> the median of its time to that of the plain step beside it."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):  # the first of them warms up
        for name, way in ways.items():
            with way():
                applied = timed(once)
            found[name].append(applied / timed(once))
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def timed(once: Callable[[], None]) -> float:
    """CPU seconds of a step."""
    began = time.process_time()
    once()
    return time.process_time() - began


def ours(rounds: int, batch: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each algorithm with its numbers and ratios."""
    from lycoris.training.plan import plan
    from lycoris.training.trainable import begin

    model = unet()
    once = step(model, batch)
    for name, (_, options, _) in ALGORITHMS.items():
        made = plan(name, rank=RANK, options=options, layers=[f"unet.{block}" for block in BLOCKS])
        adapter = begin({"unet": model}, made, seed=0)
        ways = {
            "ours": lambda adapter=adapter: adapter.applied({"unet": model}, checkpointing=False),
            "ours, checkpointed": lambda adapter=adapter: adapter.applied({"unet": model}),
        }
        yield name, {"numbers": adapter.parameters, **ratios(once, ways, rounds)}


def theirs(rounds: int, batch: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the same of the LyCORIS library; here, `lycoris` is that."""
    from lycoris import LycorisNetwork, create_lycoris  # type: ignore[attr-defined]

    logging.disable(logging.WARNING)
    LycorisNetwork.apply_preset({"target_module": [], "target_name": list(BLOCKS), "use_fnmatch": True})
    for name, (algorithm, _, options) in ALGORITHMS.items():
        plain, model = unet(), unet()
        network = create_lycoris(
            model, 1.0, linear_dim=RANK, linear_alpha=RANK, conv_dim=RANK, conv_alpha=RANK, algo=algorithm, **options
        )
        network.apply_to()
        network.requires_grad_(True)
        applied, bare, samples = step(model, batch), step(plain, batch), []
        for _ in range(rounds + 1):
            samples.append(timed(applied) / timed(bare))
        numbers = sum(factor.numel() for factor in network.parameters())
        yield name, {"numbers": numbers, "LyCORIS": statistics.median(samples[1:])}


def other_process(rounds: int, batch: int) -> dict[str, dict[str, float]]:
    """What the LyCORIS library's process finds; nothing where it cannot be installed or run."""
    from tests.bench.swap.lycoris_library import FOLDER, PACKAGES

    if not (FOLDER / "lycoris").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(FOLDER), *PACKAGES], check=False)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.training", "--rounds", str(rounds), "--batch", str(batch), THEIRS],
        cwd=FOLDER,  # first on its path, so that `lycoris` is theirs
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print((done.stderr.strip().splitlines() or ["it was killed"])[-1], file=sys.stderr)
        return {}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(THEIRS, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.theirs:
        print(json.dumps(dict(theirs(asked.rounds, asked.batch))))
        return
    found, library = dict(ours(asked.rounds, asked.batch)), other_process(asked.rounds, asked.batch)
    columns = ("algorithm", "numbers", "ours", "ours, checkpointed", "LyCORIS", "its numbers", "ours ÷ LyCORIS")
    table = Table(*columns, title="A forward and backward ÷ a plain one")
    for name, one in found.items():
        other = library.get(name, {})
        figures = [f"{one['numbers']:,}", f"{one['ours']:.2f}", f"{one['ours, checkpointed']:.2f}"]
        if other:
            figures += [f"{other['LyCORIS']:.2f}", f"{other['numbers']:,}", f"{one['ours'] / other['LyCORIS']:.2f}"]
        table.add_row(name, *figures)
    Console().print(table)
    print(json.dumps({"training": found, "lycoris": library, "rounds": asked.rounds} | provenance()))


if __name__ == "__main__":
    main()
