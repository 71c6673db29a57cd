"""Starts the runs: builds their training sets, and one trainer per process; puts the finished parts together."""

import json
import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch.multiprocessing.spawn import spawn

from workers.training.emoji import architecture, codec, items, latents, pipeline, styles, vocabulary
from workers.training.emoji.base import Plan, Trainer, export
from workers.training.emoji.decoder import DecoderPlan, Decoding
from workers.training.emoji.loop import Loop


@dataclass(frozen=True, kw_only=True)
class BaseRun:
    """Where a base run reads and writes; `start` None means from nothing."""

    cache: Path
    run: Path
    start: Path | None
    processes: int
    plan: Plan


def run_base(settings: BaseRun) -> None:
    """Train (or go on training) until the plan is over; checkpoints, log and grids are in `settings.run`."""
    settings.run.mkdir(parents=True, exist_ok=True)
    if settings.processes == 1:
        _train(settings)
        return
    # The C library reads these as a process starts. Large buffers stay with the process: to hand them back to the
    # system after every step costs up to a third of the speed.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
    with tempfile.TemporaryDirectory() as meeting:
        spawn(_process, args=(settings, meeting), nprocs=settings.processes)


def _process(rank: int, settings: BaseRun, meeting: str) -> None:
    dist.init_process_group("gloo", f"file://{meeting}/store", rank=rank, world_size=settings.processes)
    os.nice(19)
    _train(settings)
    dist.destroy_process_group()


def _train(settings: BaseRun) -> None:
    torch.set_num_threads(1)
    catalogue = items.build(settings.cache)
    pictures = items.load_drawings(catalogue, settings.cache)
    if settings.start is None:
        pipe = architecture.blank(settings.plan.seed, _texts(catalogue))
        codec.fill_encoder(pipe.vae, codec.patches(pictures.values()))
        seen: frozenset[str] = frozenset()
    else:
        pipe = pipeline.warm(settings.start)
        seen = _seen(settings.start)
    data = latents.build(catalogue, pictures, pipe.vae, pipe.tokenizer, seen)
    Trainer(pipe, data, settings.plan, settings.run).train()


def _seen(folder: Path) -> frozenset[str]:
    concepts = folder / "concepts.json"
    return frozenset(json.loads(concepts.read_text(encoding="utf-8"))["trained"]) if concepts.exists() else frozenset()


def _texts(catalogue: list[items.Item]) -> list[str]:
    """What the tokenizer is learnt from: names twice as often as tags."""
    return [text for item in catalogue for text in (f"a photo of a cute {item.name}", item.name, " ".join(item.tags))]


def run_decoder(cache: Path, run: Path, start: Path, plan: DecoderPlan) -> None:
    """Train (or go on training) the decoder of `start`; the codec ends up in `run/vae`, in float32."""
    torch.set_num_threads(1)
    catalogue = items.build(cache)
    ours, theirs = (items.load_drawings(catalogue, cache, vendor) for vendor in ("noto", "fluent"))
    vae = pipeline.warm(start).vae
    teach = styles.pictures("striped", list(ours), ours, theirs)
    opaque = [np.dstack([picture, np.ones(picture.shape[:2], np.float32)]) for picture in teach.values()]
    decoding = Decoding(vae, list(ours.values()), [*theirs.values(), *opaque], plan)
    Loop([vae.decoder], decoding.loss, plan, run).train()
    vae.save_pretrained(run / "vae")


def export_model(pipe: Path, vae: Path | None, out: Path, cache: Path) -> list[str]:
    """Write the finished folder; returns a line for each weight file: its name, size and sha256."""
    parts = pipeline.warm(pipe)
    if vae is not None:
        parts.vae = AutoencoderTiny.from_pretrained(vae, dtype=torch.float32)
    whole = architecture.assemble(
        unet=parts.unet, text_encoder=parts.text_encoder, vae=parts.vae, tokenizer=parts.tokenizer
    )
    export(whole, out)
    (out / "vocabulary.json").write_text(vocabulary.as_json(items.build(cache)), encoding="utf-8")
    files = sorted(out.glob("*/*.safetensors"))
    return [f"{f.relative_to(out)}  {f.stat().st_size:,}  {sha256(f.read_bytes()).hexdigest()}" for f in files]
