"""Pictures that editing models are shown: how many, and at what size their pipelines read each.

The sizes are by the code of diffusers 0.42, and stand in the recipe. A family that is not here is shown none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.shared.wire.generation import MAX_REFERENCES

Size = tuple[int, int]
LARGEST = 1024 * 1024  # pixels that FLUX.2 reads of a picture


def _multiple(pipeline: Any, size: Size) -> Size:
    """Return a size as multiples of a patch of latents, rounded down."""
    of = pipeline.vae_scale_factor * 2
    return size[0] // of * of, size[1] // of * of


def _limited(pipeline: Any, size: Size) -> Size:
    """Return a size within the pixels that are read; a larger picture is scaled."""
    if size[0] * size[1] > LARGEST:
        scale = math.sqrt(LARGEST / (size[0] * size[1]))
        size = int(size[0] * scale), int(size[1] * scale)
    return _multiple(pipeline, size)


@dataclass(frozen=True)
class Shown:
    """How a family is shown pictures.

    most: how many. size: at which it reads one of a size. edge: the least pixels of one. times: the most that its
    longer edge may be of the shorter.
    """

    most: int
    size: Callable[[Any, Size], Size]
    edge: int = 16
    times: float | None = None


_FLUX2 = Shown(MAX_REFERENCES, _limited, 64, 8.0)
SHOWN: dict[str, Shown] = {
    "FluxKontextPipeline": Shown(1, _multiple),
    "Flux2Pipeline": _FLUX2,
    "Flux2KleinPipeline": _FLUX2,
}
_NONE = Shown(0, _multiple, 0)


def shown_to(pipeline: Any) -> Shown:
    """Return how a pipeline is shown pictures."""
    return SHOWN.get(type(pipeline).__name__, _NONE)


def read_size(pipeline: Any, size: Size) -> Size:
    """Return the size at which a pipeline reads a picture of this size."""
    return shown_to(pipeline).size(pipeline, size)
