"""How rotations and reflections begin: as turns by no angle."""

from math import prod

import torch

from lycoris.training.place import Place, Tensors, Unfit, divisor


def oft(place: Place) -> Tensors:
    """Diag-OFT: every block is zero, which is the rotation by nothing."""
    size = divisor(place.outputs, place.rank)
    if size == 1:
        raise Unfit(f"its {place.outputs} outputs have no divisor from 2 to {place.rank} that a block could have")
    return {"oft_blocks": torch.zeros(place.outputs // size, size, size)} | _rest(place)


def boft(place: Place) -> Tensors:
    """BOFT: as Diag-OFT, in as many stages as the blocks can be paired in; LyCORIS has no other numbers of blocks."""
    even = [size for size in range(2, place.rank + 1, 2) if place.outputs % size == 0]
    size = max((size for size in even if (place.outputs // size).bit_count() == 1), default=0)
    if not size:
        raise Unfit(f"its {place.outputs} outputs are no power of two of blocks of an even size up to {place.rank}")
    blocks = place.outputs // size
    return {"oft_blocks": torch.zeros(blocks.bit_length(), blocks, size, size)} | _rest(place)


def _rest(place: Place) -> Tensors:
    rest = {"alpha": torch.tensor(float(place.options["constraint"]))}
    if place.options["rescaled"]:
        rest["rescale"] = torch.ones(place.outputs, 1, *place.points)
    return rest


def hra(place: Place) -> Tensors:
    """HRA: planes in equal pairs, so that each reflection undoes the one before; exact but for rounding."""
    inputs = prod(place.shape[1:])
    count = min(place.rank, inputs) // 2
    if not count:
        raise Unfit("two reflections are the fewest")
    drawn = place.draw.normal("hra_u", 1.0, count, inputs).T
    return {"hra_u": drawn.repeat_interleave(2, dim=1).contiguous(), "apply_GS": torch.tensor(0)}
