"""Whole trainings beside the LyCORIS library's: the loss of every step from one start, and what a step takes.

`python -m tests.bench.learning FOLDER [--steps 60] [--batch 8]` trains the bundled UNet on a folder of pictures with
captions as `python -m workers.training run` does. The batches (noise, times and texts) and the factors at the start go
to a file, from which the LyCORIS library's modules are trained in a process of their own by the same AdamW. A step's
time, the optimiser's and what makes its batch included, is told against a plain forward and backward beside it: CPU
seconds of one thread.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load, load_file, save_file

from tests.bench.provenance import provenance
from tests.bench.training import ALGORITHMS, BLOCKS, EDGES, RANK, ROOT, THEIRS, library_folder, step, timed, unet

MODEL = "bundled"
RATES = {
    "locon": 1e-3,
    "lokr": 1e-3,
    "loha": 6e-5,
    "oft": 3e-4,
    "dora": 1e-3,
}  # whose first steps move a weight about as far
PLAIN_EVERY = 6  # steps to one plain forward and backward
CLIP, BETAS = 1.0, (0.9, 0.99)  # as our plan and our optimiser have them
SHOWN = 6  # points of a curve in the table
CHECKPOINTED = ", checkpointed"


def ours(folder: Path, steps: int, batch: int, checkpointed: bool, to: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train each algorithm; write its batches and its start to `to`, and yield its losses and times."""
    from app.shared.settings import read_settings
    from app.shared.storage import Storage
    from workers.models.loading import load as load_base
    from workers.training.captioned_folder import read
    from workers.training.plan import TrainingPlan
    from workers.training.progress import Progress
    from workers.training.run import Training

    base, pictures = load_base("emoji-64", read_settings()), read(folder).pictures
    plain = step(unet(MODEL), batch, EDGES[MODEL])
    for name, (_, options, _) in ALGORITHMS.items():
        plan = TrainingPlan(
            algorithm=name,
            rank=RANK,
            options=options,
            layers=tuple(f"unet.{block}" for block in BLOCKS),
            steps=steps,
            batch_size=batch,
            learning_rate=RATES[name],
            gradient_checkpointing=checkpointed,
            weight_decay=0.0,
            checkpoint_every=steps,
        )
        training = Training(plan, base, pictures, Storage((to / f"{name}-{checkpointed}").as_uri()))
        training.examples.prepare()
        given = [training.examples.batch(at) for at in range(steps)]
        save_file(_flat(given) | load(training.exported()), to / f"{name}.safetensors")
        losses: list[float] = []
        meter = Meter(plain)

        def told(event: Any, losses: list[float] = losses, meter: "Meter" = meter) -> None:
            if isinstance(event, Progress):
                meter.made()
                losses.append(event.loss)

        training.run(told)
        yield name, {"numbers": training.adapter.parameters, "losses": losses, "ratio": meter.ratio}


def _flat(given: Sequence[Sequence[Any]]) -> dict[str, torch.Tensor]:
    """Return what each batch has, by number: the last of an epoch has fewer pictures than the others."""
    return {
        f"batches/{at:05d}/{name}": tensor.contiguous()
        for at, batch in enumerate(given)
        for name, tensor in {
            "noisy": torch.cat([one.noisy for one in batch]),
            "target": torch.cat([one.target for one in batch]),
            "times": torch.tensor([int(one.time) for one in batch]),
            "text": torch.cat([one.call.arguments["encoder_hidden_states"] for one in batch]),
        }.items()
    }


class Meter:
    """What a step takes, of a plain forward and backward; `made` is told after each step."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._steps: list[float] = []
        self._plains: list[float] = []
        self._began: float | None = None  # the first step warms up

    def made(self) -> None:
        if self._began is not None:
            self._steps.append(time.process_time() - self._began)
        if len(self._steps) % PLAIN_EVERY == 0:
            self._plains.append(timed(self._plain))
        self._began = time.process_time()

    @property
    def ratio(self) -> float:
        return statistics.median(self._steps) / statistics.median(self._plains)


def theirs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train the LyCORIS library's modules on the batches of `folder`; here, `lycoris` is that."""
    from lycoris import LycorisNetwork, create_lycoris  # type: ignore[attr-defined]

    logging.disable(logging.WARNING)
    LycorisNetwork.apply_preset({"target_module": [], "target_name": list(BLOCKS), "use_fnmatch": True})
    for name, (algorithm, _, options) in ALGORITHMS.items():
        given = load_file(folder / f"{name}.safetensors")
        batches: dict[str, dict[str, torch.Tensor]] = {}
        for key in sorted(key for key in given if key.startswith("batches/")):
            _, at, part = key.split("/")
            batches.setdefault(at, {})[part] = given.pop(key)
        most = max(len(batch["times"]) for batch in batches.values())
        model, plain = unet(MODEL), step(unet(MODEL), most, EDGES[MODEL])
        network = create_lycoris(
            model, 1.0, linear_dim=RANK, linear_alpha=RANK, conv_dim=RANK, conv_alpha=RANK, algo=algorithm, **options
        )
        network.apply_to()
        network.requires_grad_(True)
        start = {key.replace("lora_unet_", "lycoris_", 1): tensor for key, tensor in given.items()}
        left = network.load_state_dict(start, strict=False)
        factors = [factor for factor in network.parameters() if factor.requires_grad]
        optimizer = torch.optim.AdamW(factors, lr=RATES[name], betas=BETAS, weight_decay=0.0)
        losses, meter = [], Meter(plain)
        for batch in batches.values():
            optimizer.zero_grad()
            predicted = model(batch["noisy"], batch["times"], batch["text"], return_dict=False)[0]
            loss = (predicted - batch["target"]).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(factors, CLIP)
            optimizer.step()
            meter.made()
            losses.append(loss.item())
        numbers = sum(factor.numel() for factor in factors)
        yield name, {"numbers": numbers, "losses": losses, "ratio": meter.ratio, "left": [*left.unexpected_keys][:4]}


def other_process(batches: Path) -> dict[str, dict[str, Any]]:
    """What the LyCORIS library's process finds; raises CalledProcessError where it fails."""
    folder = library_folder()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.learning", str(batches), THEIRS],
        cwd=folder,  # first on its path, so that `lycoris` is theirs
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--checkpointed", action="store_true", help="compute layers anew in the backward pass")
    parser.add_argument(THEIRS, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.theirs:
        print(json.dumps(dict(theirs(asked.folder))))
        return
    with tempfile.TemporaryDirectory() as made:
        found = dict(ours(asked.folder, asked.steps, asked.batch, asked.checkpointed, Path(made)))
        library = other_process(Path(made))
    points = [round(at * (asked.steps - 1) / (SHOWN - 1)) for at in range(SHOWN)]
    table = Table("algorithm", "", "numbers", *(f"step {at + 1}" for at in points), "largest difference", "a step")
    for name, one in found.items():
        other = library[name]
        apart = max(abs(a - b) / b for a, b in zip(one["losses"], other["losses"], strict=True))
        for who, row in (("ours", one), ("LyCORIS", other)):
            ends = (f"{apart:.1e}", f"{row['ratio']:.2f}") if who == "ours" else ("", f"{row['ratio']:.2f}")
            table.add_row(name, who, f"{row['numbers']:,}", *(f"{row['losses'][at]:.4f}" for at in points), *ends)
    Console(width=160).print(table)
    print(json.dumps({"learning": found, "lycoris": library, "steps": asked.steps} | provenance()))


if __name__ == "__main__":
    main()
