"""The pixels of a picture as a tensor: torch reads Pillow's own bytes, so that numpy is not needed for it."""

import torch
from PIL.Image import Image as Picture
from torch import Tensor


def pixels_of(picture: Picture) -> Tensor:
    """Return a picture's values, uint8 [rows, columns, bands]; of grey it has one band."""
    values = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return values.view(picture.height, picture.width, len(picture.getbands()))


def planes_of(picture: Picture) -> Tensor:
    """Return a picture's values as codecs and nets take them, uint8 [1, bands, rows, columns]."""
    return pixels_of(picture).permute(2, 0, 1).unsqueeze(0)
