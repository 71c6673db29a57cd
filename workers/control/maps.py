"""Maps made of pictures for control nets: what `preprocess` of an adapter's entry says.

A map is made at the drawing's size, kept as a picture, and named in the recipe in place of the picture that it was made
of: from then on it is a map as any other, and a request that names it directly draws the same bytes.
"""

from collections.abc import Callable, Mapping

import cv2
import torch
from PIL import Image
from PIL.Image import Image as Picture

from app.shared.errors import BadRequest

WEAK, STRONG = 100, 200  # gradients between which an edge goes on, and from which one begins, as in diffusers' guides
LINES = frozenset(("canny", "soft_edge"))  # modes whose maps are white lines on black
MOST_WHITE, WHITE = 0.5, 128


def canny(picture: Picture) -> Picture:
    """Return the edges of a picture (RGB), white on black."""
    values = torch.frombuffer(bytearray(picture.convert("L").tobytes()), dtype=torch.uint8)
    edges = cv2.Canny(values.view(picture.height, picture.width).numpy(), WEAK, STRONG)
    return Image.fromarray(edges).convert("RGB")


MADE: Mapping[str, Callable[[Picture], Picture]] = {"canny": canny}


def check_lines(ref: str, mode: str | None, picture: Picture) -> None:
    """Refuse what cannot be a line map where one is read: lines are white, and few."""
    if mode not in LINES:
        return
    histogram = picture.convert("L").histogram()
    white = sum(histogram[WHITE:]) / sum(histogram)
    if white > MOST_WHITE:
        message = f"the image of {ref!r} is {white:.0%} white, and a {mode} map is white lines on black"
        raise BadRequest("map_not_lines", f'{message}: invert it, or set "preprocess": "canny" for a photograph')
