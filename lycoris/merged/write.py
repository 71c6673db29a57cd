"""One weight put into what it is to wear: in one pass over its rows, block by block, written where it lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor

from lycoris.kernels.linalg import finite, is_single
from lycoris.kernels.prepared import Ready
from lycoris.kernels.row_blocks import blocks
from lycoris.kernels.scratch import Scratch

SINGLE = (torch.float16, torch.bfloat16, torch.float32)  # what float32 holds without loss
SURE = 1e18  # its square is a float32 number: where all squares are summed up, less is sure to be finite


@dataclass(frozen=True, eq=False)
class Part:
    """A change as one weight sees it: some of its rows, and the rows of the weight that they are added to."""

    ready: Ready
    strength: float
    rows: slice  # of the weight
    start: int  # row of the change that belongs to the first of them

    def within(self, start: int, stop: int) -> "slice | None":
        """Return which of the weight's rows start to stop it changes, counted from start; None if none."""
        first, last = max(start, self.rows.start), min(stop, self.rows.stop)
        return slice(first - start, last - start) if first < last else None


def dress(live: Tensor, pristine: Tensor, largest: float, parts: Sequence[Part], scratch: Scratch) -> bool:
    """Write W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀] to a live weight; tell whether all of it is finite.

    live (o, …): any float dtype, any layout. pristine: the same shape, anywhere, in a dtype that loses nothing.
    largest: the largest absolute value of pristine. parts: in the order in which their changes are summed.
    Every change is computed and summed in float32, and the result is rounded once. Nothing else decides a bit: neither
    what live holds, nor what the room held, nor how live lies in memory.
    """
    most = largest + sum(abs(part.strength) * part.ready.most(largest) for part in parts)
    highest = torch.finfo(live.dtype).max / 2  # half of it: the bounds are rounded themselves
    sums: list[Tensor] = []
    for start, stop in blocks(live.shape, lcm(*(part.ready.step for part in parts))):
        result = _written(live[start:stop], pristine[start:stop].to(live.device, live.dtype), parts, start, scratch)
        if not most < highest:
            flat = result.reshape(-1)
            sums.append(torch.dot(flat, flat))
    if not sums:
        return True
    # One number for every block tells; only where it does not is the weight gone through again.
    return bool((torch.stack(sums) < min(highest, SURE) ** 2).all()) or finite(live)


def _written(live: Tensor, pristine: Tensor, parts: Sequence[Part], start: int, scratch: Scratch) -> Tensor:
    """Dress one block; return what was written before it was rounded, or as it was written."""
    if len(parts) == 1 and parts[0].within(start, start + len(live)) == slice(0, len(live)) and live.dtype in SINGLE:
        (part,) = parts
        result = live if is_single(live) else scratch.empty("result", live.shape, live.device)
        part.ready.wear(result, pristine, part.strength, part.start + start - part.rows.start, scratch)
    else:
        result = _sum(live, pristine, parts, start, scratch)
    if result is not live:
        live.copy_(result)
    return result


def _sum(live: Tensor, pristine: Tensor, parts: Sequence[Part], start: int, scratch: Scratch) -> Tensor:
    change = scratch.empty("change", live.shape, live.device).zero_()
    for part in parts:
        rows = part.within(start, start + len(live))
        if rows is not None:
            first = part.start + start + rows.start - part.rows.start
            part.ready.add(change[rows], pristine[rows], part.strength, first, scratch)
    if live.dtype not in SINGLE:
        return pristine + change  # float64 has a sum of its own
    return torch.add(pristine, change, out=live if is_single(live) else change)
