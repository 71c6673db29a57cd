"""How many steps each pass of a picture draws, and of which seed: known when a request is accepted.

A picture is drawn in one pass, or in two where it is upscaled. A pass that begins from a picture draws the last part of
the steps alone.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from app.shared.wire.generation import MAX_SEED, Picture, ResolvedRequest
from app.shared.wire.model import ModelProfile

Rounding = Literal["down", "up"]  # of steps × denoise: down as diffusers does for diffusion, up as for flow matching
DENOISE = 0.75  # where there is a picture, and nothing is said
DIGITS = 10_000  # a denoise that a refusal names has four


def drawn_steps(steps: int, denoise: float | None, rounding: Rounding) -> int:
    """Return how many of `steps` are drawn, as diffusers' image to image counts them; all without a `denoise`."""
    if denoise is None:
        return steps
    return int(steps * denoise) if rounding == "down" else steps - int(max(steps - steps * denoise, 0))


def least_denoise(steps: int, rounding: Rounding) -> float:
    """Return about the smallest `denoise` that draws a step, with four digits."""
    return math.ceil(DIGITS / steps) / DIGITS if rounding == "down" else 1 / DIGITS


def most_denoise(steps: int) -> float:
    """Return the largest `denoise`, with four digits, that leaves out a step where steps are rounded up."""
    return math.floor(DIGITS * (steps - 1) / steps) / DIGITS


def drawn_by(asked: Picture, steps: int, rounding: Rounding) -> list[int]:
    """Return the steps that are drawn in each pass of a request."""
    first = drawn_steps(steps, asked.denoise if asked.init_image else None, rounding)
    second = [drawn_steps(steps, asked.upscale.denoise, rounding)] if asked.upscale else []
    return [first, *second]


def second_seed(seed: int) -> int:
    """Return the seed of the second pass: with the first one's, its noise would be in the picture already."""
    return int.from_bytes(sha256(f"{seed}:2".encode()).digest()[:8]) % (MAX_SEED + 1)


def upscaled(size: Sequence[int], scale: float, multiple: int) -> tuple[int, int]:
    """Return width and height of a second pass: multiples of what the model draws, the nearest to `scale` times."""
    width, height = (max(multiple, round(edge * scale / multiple) * multiple) for edge in size)
    return width, height


def passes(request: ResolvedRequest, profile: ModelProfile) -> list[ResolvedRequest]:
    """Return what each pass of a request draws; the second begins from what the first has drawn."""
    drawn = request.drawn or drawn_by(request, request.steps, profile.denoise_rounding)
    first = request.model_copy(update={"drawn": drawn[:1]})
    if request.upscale is None:
        return [first]
    width, height = upscaled((request.width, request.height), request.upscale.scale, profile.size_multiple)
    second = {
        "width": width,
        "height": height,
        "fit": "stretch",
        "denoise": request.upscale.denoise,
        "init_image": None,
        "drawn": drawn[1:],
    }
    return [first, first.model_copy(update=second)]


def total(request: ResolvedRequest) -> int:
    """Return the steps of all passes of one picture; where an old record does not say them, those of the request."""
    return sum(request.drawn) or request.steps
