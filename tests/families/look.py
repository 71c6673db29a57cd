"""How a family heeds: `python -m tests.families.look NAME…` draws with diffusers alone, and says what moves a picture.

For who builds a family: the numbers are mean differences of 255; a plain picture should spread over tens of them.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from diffusers.utils import logging as diffusers_logging

from tests.families.family import Family
from tests.families.registry import FAMILIES


def asked(family: Family, **changed: Any) -> dict[str, Any]:
    """Return the arguments of diffusers' own call."""
    width, height = family.size
    plain: dict[str, Any] = {"prompt": "a red apple on a tree " * 8, "width": width, "height": height, "seed": 7}
    plain |= {"num_inference_steps": family.steps, **family.extra} | ({family.guidance: 3.0} if family.guidance else {})
    call = plain | changed
    return call | {"generator": torch.Generator("cpu").manual_seed(call.pop("seed"))}


def pixels(family: Family, pipeline: Any, **changed: Any) -> np.ndarray:
    """Return the picture that diffusers draws, in float."""
    with torch.inference_mode():
        drawn = family.picture(pipeline(**asked(family, **changed)))
    return np.asarray(drawn).astype(float)


def moved(family: Family, pipeline: Any, plain: np.ndarray, change: dict[str, Any]) -> str:
    """Return how far a change moves the picture, or what diffusers says instead."""
    try:
        return f"{abs(pixels(family, pipeline, **change) - plain).mean():.1f}"
    except ValueError as error:
        return f"({error})"


def look(family: Family) -> str:
    """Build, draw, and say what moves the picture."""
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        family.build(Path(name))
        built = time.perf_counter() - begun
        size = sum(file.stat().st_size for file in Path(name).rglob("*") if file.is_file()) / 2**20
        pipeline = family.open(Path(name))
        pipeline.set_progress_bar_config(disable=True)
        begun = time.perf_counter()
        plain = pixels(family, pipeline)
        drawn = time.perf_counter() - begun
        changes: dict[str, dict[str, Any]] = {
            "prompt": {"prompt": "a blue square and the sea " * 8},
            "seed": {"seed": 8},
        }
        if family.guidance:
            changes["guidance"] = {family.guidance: 5.0}
        if family.negative:
            changes["negative"] = {"negative_prompt": "blurred"}
        changes["steps"] = {"num_inference_steps": family.steps + 1}
        told = " ".join(f"{name} {moved(family, pipeline, plain, one)}" for name, one in changes.items())
        shape = "×".join(map(str, plain.shape[1::-1]))
        return f"{family}: {size:.1f} MiB, {built:.1f}+{drawn:.2f} s, {shape} spread {plain.std():.0f}; {told}"


if __name__ == "__main__":
    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    for wanted in sys.argv[1:] or FAMILIES:
        print(look(FAMILIES[wanted]), flush=True)
