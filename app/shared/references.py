"""Which part of a picture an image prompt is read from: an encoder of pictures reads squares."""

from typing import Literal

Fit = Literal["crop", "pad"]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the picture


def box_of(width: int, height: int, fit: Fit) -> Box:
    """Return the square that is read: the middle of a picture, or all of it with what lies beyond its edges."""
    edge = min(width, height) if fit == "crop" else max(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    return left, top, left + edge, top + edge
