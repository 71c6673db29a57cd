"""Pictures that editing models are shown: how many, and at what size their pipelines read each.

The sizes are by the code of diffusers 0.42, and stand in the recipe. A family that is not here is shown none.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image as Picture

from app.shared.wire.generation import MAX_REFERENCES

Size = tuple[int, int]
SizeRead = Callable[[Any, Size, Size], Size]  # by a pipeline, of a picture's size and the drawing's
LARGEST = 1024 * 1024  # pixels that FLUX.2 and Z-Image-Omni read of a picture, and Qwen-Image-Edit of every one


def _multiple(pipeline: Any, size: Size, _: Size) -> Size:
    """Return a size as multiples of a patch of latents, rounded down."""
    of = pipeline.vae_scale_factor * 2
    return size[0] // of * of, size[1] // of * of


def _limited(pipeline: Any, size: Size, drawing: Size, to: int = LARGEST) -> Size:
    """Return a size within the pixels that are read; a larger picture is scaled to an area."""
    if size[0] * size[1] > LARGEST:
        scale = math.sqrt(to / (size[0] * size[1]))
        size = int(size[0] * scale), int(size[1] * scale)
    return _multiple(pipeline, size, drawing)


def _limited_to_drawing(pipeline: Any, size: Size, drawing: Size) -> Size:
    """Return a size within the pixels that are read; a larger picture is scaled to the drawing's area."""
    return _limited(pipeline, size, drawing, drawing[0] * drawing[1])


def _same_area(pipeline: Any, size: Size, _: Size) -> Size:
    """Return a size of one area for every picture, as the pipeline's own module computes it."""
    found = sys.modules[type(pipeline).__module__].calculate_dimensions(LARGEST, size[0] / size[1])
    return found[0], found[1]


def _drawing(_: Any, __: Size, drawing: Size) -> Size:
    """Return the drawing's size: the model draws the right half of a picture whose left half it is shown."""
    return drawing


@dataclass(frozen=True)
class Shown:
    """How a family is shown pictures.

    most: how many. size: at which it reads one of a size. edge: the least pixels of one. times: the most that its
    longer edge may be of the shorter. least: without how many it draws nothing.
    """

    most: int
    size: SizeRead
    edge: int = 16
    times: float | None = None
    least: int = 0


_FLUX2 = Shown(MAX_REFERENCES, _limited, 64, 8.0)
_DREAM = Shown(1, _drawing, times=100.0)
SHOWN: dict[str, Shown] = {
    "FluxKontextPipeline": Shown(1, _multiple),
    "Flux2Pipeline": _FLUX2,
    "Flux2KleinPipeline": _FLUX2,
    "ZImageOmniPipeline": Shown(MAX_REFERENCES, _limited_to_drawing, 64, 8.0),
    "QwenImageEditPipeline": Shown(1, _same_area, times=100.0, least=1),
    "QwenImageEditPlusPipeline": Shown(MAX_REFERENCES, _same_area, times=100.0, least=1),
    "QwenImage21Pipeline": Shown(MAX_REFERENCES, _same_area, times=100.0),
    "DreamLitePipeline": _DREAM,
    "DreamLiteMobilePipeline": _DREAM,
}
_NONE = Shown(0, _multiple, 0)


def shown_to(pipeline: Any) -> Shown:
    """Return how a pipeline is shown pictures."""
    return SHOWN.get(type(pipeline).__name__, _NONE)


def read_size(pipeline: Any, size: Size, drawing: Size) -> Size:
    """Return the size at which a pipeline reads a picture of this size where it draws one of that."""
    return shown_to(pipeline).size(pipeline, size, drawing)


def shown(pipeline: Any, pictures: list[Picture]) -> dict[str, Any]:
    """Return the argument by which a pipeline is shown pictures: one alone, where it takes no more."""
    return {"image": pictures[0] if shown_to(pipeline).most == 1 else pictures}
