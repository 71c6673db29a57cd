"""The pictures that a request draws from, brought to what is drawn, and what was drawn brought back into them.

What a mask keeps is in the answer bit for bit: its pixels are pasted, and have not gone through the codec.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from PIL.Image import Image as Picture
from PIL.Image import Resampling
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from app.shared.errors import BadRequest
from app.shared.pictured import same_shape
from app.shared.wire.generation import ResolvedRequest
from app.shared.wire.model import ModelProfile
from workers.drawing.placement import Placement, Size
from workers.models.inpainting import black_or_white
from workers.models.pixels import pixels_of

Box = tuple[int, int, int, int]  # left, top, right, bottom
WHITE, GREY = 255, 127


@dataclass(frozen=True)
class Canvas:
    """What is drawn of a request, and at what size.

    size: of the answer. box: what of the answer is drawn. scaled: the size at which that is drawn. drawn: the same,
    with what the model has to draw beside it. placed, mask: picture and mask at the answer's size, where there are any.
    """

    size: Size
    box: Box
    scaled: Size
    drawn: Size
    placed: Picture | None = None
    mask: Picture | None = None
    blur: int = 0

    @classmethod
    def of(
        cls,
        request: ResolvedRequest,
        profile: ModelProfile,
        picture: Picture | None = None,
        mask: Picture | None = None,
    ) -> "Canvas":
        """Return what is drawn of a request, from a picture and a mask of the same shape where there are any.

        Raises BadRequest for a picture of a size, or a mask of a shape, that does not fit.
        """
        size = (request.width, request.height)
        box, scaled = (0, 0, *size), size
        if picture is not None:
            try:
                placement = Placement.of(picture.size, size, request.fit)
            except ValueError as error:
                raise BadRequest("picture_size", f"{error}; set fit, or ask for the picture's own size") from error
            if mask is not None:
                if not same_shape(mask.size, picture.size):
                    message = "the mask is {}×{}, and the picture {}×{}".format(*mask.size, *picture.size)
                    raise BadRequest("mask_size", message)
                of_mask = placement.of_likeness(picture.size, mask.size)
                mask = of_mask.place(mask.convert("L"), WHITE, Resampling.BILINEAR)
                mask = black_or_white(mask) if profile.inpaint == "native" else mask
            picture = placement.place(picture.convert("RGB"))
        if mask is not None and request.inpaint_area == "masked":
            box, scaled = around(mask, request.inpaint_padding, profile)
        drawn = multiples(scaled, profile.size_multiple)
        return cls(size, box, scaled, drawn, picture, mask, request.mask_blur)

    @property
    def noted(self) -> dict[str, Any]:
        """What a recipe says of it: the part that is drawn, and its size, where that is not the whole at its own."""
        whole = (0, 0, *self.size)
        return (
            {} if (self.box, self.scaled) == (whole, self.size) else {"drawn_box": self.box, "drawn_size": self.drawn}
        )

    def part(self, picture: Picture, beside: int | None = None, resampling: Resampling = Resampling.LANCZOS) -> Picture:
        """Return what is drawn of a picture of the answer's size; beside: the value of what the model draws beside."""
        return Placement(self.drawn, self.box, (0, 0, *self.scaled)).place(picture, beside, resampling)

    def answer(self, drawn: Picture) -> Picture:
        """Return the answer of what was drawn."""
        left, top, right, bottom = self.box
        inner = (right - left, bottom - top)
        drawn = Placement(inner, (0, 0, *self.scaled), (0, 0, *inner)).place(drawn)
        if self.placed is None or self.mask is None:
            return drawn
        changed = self.placed.copy()
        changed.paste(drawn.convert("RGB"), (left, top))
        return Image.composite(changed, self.placed, faded(self.mask, self.blur))

    def part_of_steps(self) -> Tensor | None:
        """Return for how large a part of the steps each pixel is drawn: [1, 1, rows, columns], from 0 to 1."""
        if self.mask is None:
            return None
        return _values(self.part_of_mask(self.mask))[None, None] / WHITE

    def part_of_mask(self, mask: Picture) -> Picture:
        """Return what is drawn of a mask; what the model draws beside it is drawn anew."""
        return self.part(mask, WHITE, Resampling.BILINEAR)


def multiples(size: Size, of: int) -> Size:
    """Return the smallest size that holds another and is one of multiples."""
    width, height = (math.ceil(edge / of) * of for edge in size)
    return width, height


def whole(picture: Picture, multiple: int) -> Picture:
    """Return a picture of a size that a model draws, stretched where it is not."""
    return Placement.of(picture.size, multiples(picture.size, multiple), "stretch").place(picture)


def around(mask: Picture, padding: int, profile: ModelProfile) -> tuple[Box, Size]:
    """Return the box around a mask, in the shape of the model's own size where there is room, and its size as drawn.

    That has the pixels of the model's own, as far as its edges allow. Raises BadRequest for an empty mask.
    """
    native, multiple = (profile.width, profile.height), profile.size_multiple
    found, (width, height) = mask.getbbox(), mask.size
    if found is None:
        raise BadRequest("mask_empty", "the mask is black everywhere: nothing is to be drawn anew")
    left, top, right, bottom = found
    left, top, right, bottom = left - padding, top - padding, right + padding, bottom + padding
    wide, high = min(right, width) - max(left, 0), min(bottom, height) - max(top, 0)
    if wide * native[1] < high * native[0]:
        wide = min(width, math.ceil(high * native[0] / native[1]))
    else:
        high = min(height, math.ceil(wide * native[1] / native[0]))
    middle, centre = (max(left, 0) + min(right, width)) / 2, (max(top, 0) + min(bottom, height)) / 2
    left = min(max(round(middle - wide / 2), 0), width - wide)
    top = min(max(round(centre - high / 2), 0), height - high)
    box = (left, top, left + wide, top + high)
    if profile.sizes:
        return box, min(profile.sizes, key=lambda size: abs(math.log(size[0] * high / (size[1] * wide))))
    longest = profile.max_edge // multiple * multiple
    scale = min(math.sqrt(native[0] * native[1] / (wide * high)), longest / max(wide, high))
    scaled = tuple(max(multiple, round(edge * scale / multiple) * multiple) for edge in (wide, high))
    return box, scaled  # type: ignore[return-value]


def faded(mask: Picture, blur: int) -> Picture:
    """Return how much of what was drawn is taken: nothing where the mask is black, and more and more inwards."""
    inside = mask.point(lambda value: WHITE if value else 0)
    if not blur or inside.getextrema()[0] == WHITE:
        return inside
    depth: Any = distance_transform_edt(inside)
    return Image.fromarray(((depth / (blur + 1)).clip(max=1) * WHITE).round().astype("uint8"))


def without(picture: Picture, mask: Picture) -> Picture:
    """Return a picture that holds nothing of what a mask hides: there are the nearest pixels that it does not."""
    hidden = mask.point(lambda value: WHITE if value == WHITE else 0)
    least, most = hidden.getextrema()
    if not most:
        return picture
    if least:
        return Image.new("RGB", picture.size, (GREY,) * 3)
    nearest: Any = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    rows, columns = map(torch.from_numpy, nearest)
    return Image.fromarray(pixels_of(picture)[rows.long(), columns.long()].numpy())


def _values(picture: Picture) -> Tensor:
    """Return a grey picture's values [rows, columns]."""
    return pixels_of(picture)[..., 0].float()
