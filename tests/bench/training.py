"""A step of a training against a plain forward and backward, and against the LyCORIS library's modules.

`python -m tests.bench.training [--model bundled] [--rounds 5] [--batch 8]` takes the bundled UNet, or one of SD 1.5's
shape (`sd15`: a round of one picture, which still takes minutes), and, for each algorithm, the forward and backward of
a batch with the adapter on its blocks' layers: ours, ours with gradient checkpointing (as it is by default, and with
every layer computed anew), and the LyCORIS library's own modules in a process of their own. Each sample stands beside
one of the plain UNet in the same process, which has gradients for its input alone. CPU seconds of one thread. Each
algorithm is told as it comes; the table is printed last.
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
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from tests.bench.provenance import provenance
from tests.bench.swap.subjects import subject

ROOT = Path(__file__).parents[2]
EDGES = {"bundled": 8, "sd15": 16}  # of the latents
ROUNDS = {"bundled": 5, "sd15": 1}
BATCHES = {"bundled": 8, "sd15": 1}
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
WAYS = ("ours", "ours, checkpointed", "every layer anew")


def unet(name: str) -> Any:
    """A model, frozen."""
    return subject(name, twin=False).unet


def step(model: Any, batch: int, edge: int) -> Callable[[], None]:
    """A forward and a backward of a batch of square latents."""
    chance = torch.Generator().manual_seed(0)
    channels, width = model.config["in_channels"], model.config["cross_attention_dim"]
    sample = torch.randn(batch, channels, edge, edge, generator=chance)
    text = torch.randn(batch, 24, width, generator=chance)
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


def library_folder() -> Path:
    """Return the folder that the LyCORIS library is installed into, on demand."""
    from tests.bench.swap.lycoris_library import FOLDER, PACKAGES

    if not (FOLDER / "lycoris").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(FOLDER), *PACKAGES], check=False)
    return FOLDER


def ours(asked: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each algorithm with its numbers and ratios."""
    from lycoris.training.plan import plan
    from lycoris.training.trainable import begin

    model = unet(asked.model)
    once = step(model, asked.batch, EDGES[asked.model])

    @contextmanager
    def every(adapter: Any) -> Iterator[None]:
        with patch("lycoris.recompute.SMALL", 0), adapter.applied({"unet": model}):
            yield

    for name in asked.only or ALGORITHMS:
        options = ALGORITHMS[name][1]
        made = plan(name, rank=RANK, options=options, layers=[f"unet.{block}" for block in BLOCKS])
        adapter = begin({"unet": model}, made, seed=0)
        ways = {
            "ours": lambda adapter=adapter: adapter.applied({"unet": model}, checkpointing=False),
            "ours, checkpointed": lambda adapter=adapter: adapter.applied({"unet": model}),
            "every layer anew": lambda adapter=adapter: every(adapter),
        }
        found = {"numbers": adapter.parameters, **ratios(once, ways, asked.rounds)}
        _tell(name, found)
        yield name, found


def theirs(asked: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the same of the LyCORIS library; here, `lycoris` is that."""
    from lycoris import LycorisNetwork, create_lycoris  # type: ignore[attr-defined]

    logging.disable(logging.WARNING)
    LycorisNetwork.apply_preset({"target_module": [], "target_name": list(BLOCKS), "use_fnmatch": True})
    plain, model = unet(asked.model), unet(asked.model)
    for name in asked.only or ALGORITHMS:
        algorithm, _, options = ALGORITHMS[name]
        network = create_lycoris(
            model, 1.0, linear_dim=RANK, linear_alpha=RANK, conv_dim=RANK, conv_alpha=RANK, algo=algorithm, **options
        )
        network.apply_to()
        network.requires_grad_(True)
        applied, bare = (step(each, asked.batch, EDGES[asked.model]) for each in (model, plain))
        samples: list[float] = []
        for _ in range(asked.rounds + 1):
            samples.append(timed(applied) / timed(bare))
        network.restore()
        numbers = sum(factor.numel() for factor in network.parameters())
        found = {"numbers": numbers, "LyCORIS": statistics.median(samples[1:])}
        _tell(name, found)
        yield name, found


def _tell(name: str, found: Mapping[str, float]) -> None:
    """Print one algorithm's figures where people wait for the table."""
    print(name, ", ".join(f"{what} {value:.4g}" for what, value in found.items()), file=sys.stderr, flush=True)


def other_process(arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    """What the LyCORIS library's process finds; nothing where it cannot be installed or run."""
    folder = library_folder()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.training", *arguments, THEIRS],
        cwd=folder,  # first on its path, so that `lycoris` is theirs
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"the LyCORIS library's process ended with status {done.returncode}", file=sys.stderr)
        return {}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=EDGES, default="bundled")
    parser.add_argument("--only", action="append", choices=ALGORITHMS, help="an algorithm; repeatable")
    parser.add_argument("--rounds", type=int, help="unset, 5; of sd15, 1")
    parser.add_argument("--batch", type=int, help="unset, 8; of sd15, 1")
    parser.add_argument(THEIRS, action="store_true", help=argparse.SUPPRESS)
    given = sys.argv[1:] if arguments is None else arguments
    asked = parser.parse_args(given)
    asked.rounds, asked.batch = asked.rounds or ROUNDS[asked.model], asked.batch or BATCHES[asked.model]
    torch.set_num_threads(1)
    if asked.theirs:
        print(json.dumps(dict(theirs(asked))))
        return
    found, library = dict(ours(asked)), other_process(given)
    columns = ("algorithm", "numbers", *WAYS, "LyCORIS", "its numbers", *(f"{way} ÷ LyCORIS" for way in WAYS))
    table = Table(*columns, title=f"A forward and backward ÷ a plain one, {asked.model} UNet")
    for name, one in found.items():
        other = library.get(name, {})
        figures = [f"{one['numbers']:,}", *(f"{one[way]:.2f}" for way in WAYS)]
        if other:
            figures += [f"{other['LyCORIS']:.2f}", f"{other['numbers']:,}"]
            figures += [f"{one[way] / other['LyCORIS']:.2f}" for way in WAYS]
        table.add_row(name, *figures)
    Console().print(table)
    print(
        json.dumps({"training": found, "lycoris": library, "model": asked.model, "rounds": asked.rounds} | provenance())
    )


if __name__ == "__main__":
    main()
