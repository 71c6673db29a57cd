"""Each algorithm of about as many numbers, trained alike on a style by the road that trainings of the service take.

`python -m tests.bench.algorithms FOLDER --out ADAPTERS [--steps 150] [--batch 8] [--only lora locon …]` takes a folder
that `python -m workers.training.emoji style STYLE --out FOLDER` made, called as the style, and writes
ADAPTERS/STYLE-ALGORITHM.safetensors; what is there is left, so that it goes on where it was stopped. What they draw,
`python -m tests.bench.quality --parts adapters --adapters ADAPTERS` says.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from app.shared.settings import read_settings
from app.shared.storage import Storage
from lycoris.training.table import ALGORITHMS
from tests.bench.provenance import provenance
from workers.models.loading import load
from workers.training.captioned_folder import read
from workers.training.plan import TrainingPlan
from workers.training.progress import Event, Progress
from workers.training.run import Training

# Rank and options by which the bundled UNet's blocks have about 250,000 numbers, or as near to it as there is
SIZES: dict[str, tuple[int | None, dict[str, Any]]] = {
    "lora": (7, {}),
    "locon": (4, {"conv_rank": 3}),
    "dora": (4, {"conv_rank": 2}),
    "loha": (2, {"conv_rank": 6, "tucker": True}),
    "lokr": (14, {"factor": 4}),
    "glora": (2, {}),
    "hira": (4, {}),
    "oft": (10, {}),
    "boft": (4, {}),
    "hra": (6, {}),
    "fourierft": (None, {"frequencies": 3300}),
    "c3a": (16, {}),
    "vera": (256, {}),
    "ia3": (None, {}),
    "norm": (None, {}),
    "full": (None, {}),
}
LAST = 50  # steps whose mean loss is told


def trained(algorithm: str, asked: argparse.Namespace, base: Any, pictures: Any) -> tuple[bytes, dict[str, Any]]:
    """Train one; return its file, and its numbers, loss and CPU seconds a step."""
    rank, options = SIZES[algorithm]
    plan = TrainingPlan(
        algorithm=algorithm,
        rank=rank,
        options=options,
        steps=asked.steps,
        batch_size=asked.batch,
        learning_rate=ALGORITHMS[algorithm].learning_rate * asked.times_rate,
        lr_warmup_steps=min(20, asked.steps - 1),
        weight_decay=0.0,
        ema_decay=0.98,
        caption_dropout_rate=0.1,
        seed=64,
        gradient_checkpointing=False,
        checkpoint_every=asked.steps,
    )
    losses: list[float] = []
    stamps: list[float] = []

    def told(event: Event) -> None:
        if isinstance(event, Progress):
            losses.append(event.loss)
            stamps.append(time.process_time())

    with tempfile.TemporaryDirectory() as beside:
        training = Training(
            plan, base, pictures, Storage(Path(beside).as_uri()), title=f"{asked.folder.name}-{algorithm}"
        )
        done = training.run(told)
    between = [after - before for before, after in pairwise(stamps)]
    return done.data, {
        "numbers": training.adapter.parameters,
        "learning_rate": plan.learning_rate,
        "loss": round(statistics.fmean(losses[-LAST:]), 4),
        "seconds": round(statistics.median(between), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is not there yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--times-rate", type=float, default=10.0, help="of each algorithm's own learning rate")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    base, pictures = load("emoji-64", read_settings()), read(asked.folder).pictures
    rows: dict[str, dict[str, Any]] = {}
    for algorithm in asked.only:
        file = asked.out / f"{asked.folder.name}-{algorithm}.safetensors"
        if file.exists():
            continue
        data, rows[algorithm] = trained(algorithm, asked, base, pictures)
        file.write_bytes(data)
        print(algorithm, json.dumps(rows[algorithm]), flush=True)
    table = Table("algorithm", "numbers", "learning rate", "loss", "CPU seconds a step", title=asked.folder.name)
    for algorithm, row in rows.items():
        table.add_row(algorithm, f"{row['numbers']:,}", *(str(row[k]) for k in ("learning_rate", "loss", "seconds")))
    Console(stderr=True).print(table)
    print(json.dumps({"algorithms": rows, "steps": asked.steps, "batch": asked.batch} | provenance()))


if __name__ == "__main__":
    main()
