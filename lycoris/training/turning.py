"""How rotations and reflections begin: as turns by no angle."""

from math import prod

import torch

from lycoris.training.forms import boft_block, hra_pairs, oft_block
from lycoris.training.place import Place, Tensors


def oft(place: Place) -> Tensors:
    """Diag-OFT: every block is zero, which is the rotation by nothing."""
    size = oft_block(place)
    return {"oft_blocks": torch.zeros(place.outputs // size, size, size)} | _rest(place)


def boft(place: Place) -> Tensors:
    """BOFT: as Diag-OFT, in as many stages as the blocks can be paired in."""
    size = boft_block(place)
    blocks = place.outputs // size
    return {"oft_blocks": torch.zeros(blocks.bit_length(), blocks, size, size)} | _rest(place)


def _rest(place: Place) -> Tensors:
    rest = {"alpha": torch.tensor(float(place.options["constraint"]))}
    if place.options["rescaled"]:
        rest["rescale"] = torch.ones(place.outputs, 1, *place.points)
    return rest


def hra(place: Place) -> Tensors:
    """HRA: planes in equal pairs, so that each reflection undoes the one before; exact but for rounding."""
    drawn = place.draw.normal("hra_u", 1.0, hra_pairs(place), prod(place.shape[1:])).T
    return {"hra_u": drawn.repeat_interleave(2, dim=1).contiguous(), "apply_GS": torch.tensor(0)}
