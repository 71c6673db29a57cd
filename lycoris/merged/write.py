"""Patching one weight: one pass over its rows, block by block, written into the live parameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor

from lycoris.kernels.linalg import finite, is_single
from lycoris.kernels.prepared import PreparedChange
from lycoris.kernels.row_blocks import blocks
from lycoris.kernels.scratch import Scratch

SINGLE = (torch.float16, torch.bfloat16, torch.float32)  # dtypes that float32 holds without loss
SURE = 1e18  # its square is a float32 number: a sum of squares below it proves that every element is finite


@dataclass(frozen=True, eq=False)
class RowPatch:
    """One prepared change of some rows of one weight."""

    prepared: PreparedChange
    strength: float
    rows: slice  # of the weight
    start: int  # row of the change that is added to the first of them

    def within(self, start: int, stop: int) -> "slice | None":
        """Return which of the weight's rows start to stop it changes, counted from start; None if none."""
        first, last = max(start, self.rows.start), min(stop, self.rows.stop)
        return slice(first - start, last - start) if first < last else None


def patch_weight(live: Tensor, pristine: Tensor, largest: float, patches: Sequence[RowPatch], scratch: Scratch) -> bool:
    """Write W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀] to a live weight; tell whether every element of it is finite.

    live (o, …): any float dtype, any layout. pristine: the same shape, on any device, in a dtype that loses nothing.
    largest: the largest absolute value of pristine. patches: in the order in which their changes are summed.
    Changes are computed and summed in float32, and the result is rounded once. No bit depends on the former content
    of live or scratch, or on live's memory layout.
    """
    bound = largest + sum(abs(patch.strength) * patch.prepared.bound(largest) for patch in patches)
    highest = torch.finfo(live.dtype).max / 2  # half of it: the bounds are rounded themselves
    sums: list[Tensor] = []
    for start, stop in blocks(live.shape, lcm(*(patch.prepared.row_multiple for patch in patches))):
        rows = pristine[start:stop].to(live.device, live.dtype)
        result = _write_block(live[start:stop], rows, patches, start, scratch)
        if not bound < highest:
            flat = result.reshape(-1)
            sums.append(torch.dot(flat, flat))
    if not sums:
        return True
    # One scalar per block is a sufficient test; only where it fails is the whole weight read again.
    return bool((torch.stack(sums) < min(highest, SURE) ** 2).all()) or finite(live)


def _write_block(live: Tensor, pristine: Tensor, patches: Sequence[RowPatch], start: int, scratch: Scratch) -> Tensor:
    """Write one block; return the result before it was rounded to the weight's dtype, where that is at hand."""
    if (
        len(patches) == 1
        and patches[0].within(start, start + len(live)) == slice(0, len(live))
        and live.dtype in SINGLE
    ):
        (patch,) = patches
        result = live if is_single(live) else scratch.empty("result", live.shape, live.device)
        patch.prepared.apply(result, pristine, patch.strength, patch.start + start - patch.rows.start, scratch)
    else:
        result = _sum(live, pristine, patches, start, scratch)
    if result is not live:
        live.copy_(result)
    return result


def _sum(live: Tensor, pristine: Tensor, patches: Sequence[RowPatch], start: int, scratch: Scratch) -> Tensor:
    change = scratch.empty("change", live.shape, live.device).zero_()
    for patch in patches:
        rows = patch.within(start, start + len(live))
        if rows is not None:
            first = patch.start + start + rows.start - patch.rows.start
            patch.prepared.add(change[rows], pristine[rows], patch.strength, first, scratch)
    if live.dtype not in SINGLE:
        return pristine + change  # float64 is summed in float64
    return torch.add(pristine, change, out=live if is_single(live) else change)
