"""Pictures drawn by a pipeline in training, and sheets of them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

STEPS = 20
GUIDANCE = 3.0


def draw(
    pipe: DiffusionPipeline,
    prompts: list[str],
    seed: int = 0,
    batch: int = 32,
    given: Callable[[slice], dict[str, Any]] = lambda _: {},
) -> np.ndarray:
    """Pictures [prompts, 64, 64, 3] in 0..1; each has its own generator, so batching does not change what is drawn.

    `given` makes what else the pipeline is called with, for the prompts of a batch.
    """
    pipe.set_progress_bar_config(disable=True)
    drawn = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        drawn.append(
            pipe(  # pyright: ignore[reportCallIssue]
                part,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                height=64,
                width=64,
                generator=generators,
                output_type="np",
                **given(slice(start, start + batch)),
            ).images  # pyright: ignore[reportAttributeAccessIssue]
        )
    return np.concatenate(drawn)


def grid(pipe: StableDiffusionPipeline, names: list[str], file: Path, count: int = 40) -> None:
    """A sheet of `count` names, the same ones every time, ten a row."""
    chosen = random.Random(7).sample(names, min(count, len(names)))
    sheet(draw(pipe, chosen), file)


def sheet(pictures: np.ndarray, file: Path, columns: int = 10) -> None:
    """Pictures [n, 64, 64, 3] in 0..1 side by side in one PNG."""
    rows = -(-len(pictures) // columns)
    padded = np.ones((rows * columns, *pictures.shape[1:]), dtype=np.float32)
    padded[: len(pictures)] = pictures
    height, width = pictures.shape[1:3]
    tiled = padded.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    array = np.uint8(np.rint(tiled.reshape(rows * height, columns * width, 3).clip(0, 1) * 255))
    Image.fromarray(array).save(file)
