"""A change prepared for one weight: all that does not depend on the strength is computed once, for any rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from lycoris.kernels.linalg import aligned, largest
from lycoris.kernels.scratch import Scratch


class WeightView(NamedTuple):
    """The weight that a change is computed against: rows of one or more tensors, concatenated along dim 0."""

    parts: tuple[Tensor, ...]  # pristine rows, on any device
    device: torch.device  # of the live weight; the change is computed there
    stored: torch.dtype  # of the live weight; the parts may have a wider one, as in the base's file
    dtype: torch.dtype = torch.float32  # in which the change is computed

    @property
    def shape(self) -> torch.Size:
        """The shape of all rows together."""
        return torch.Size((sum(len(part) for part in self.parts), *self.parts[0].shape[1:]))

    def factor(self, tensor: Tensor) -> Tensor:
        """Return a factor on the compute device, in the compute dtype, contiguous and aligned."""
        return aligned(tensor.to(self.device, self.dtype))

    def whole(self) -> Tensor:
        """Return all rows as one tensor, in the live weight's dtype and on its device."""
        parts = [part.to(self.device, self.stored) for part in self.parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class PreparedChange(ABC):
    """One change of one weight, its factors in float32 on the weight's device. Subclasses are frozen dataclasses.

    In all methods, start is the row of the weight with which the given rows begin, and scratch is for intermediate
    results.
    """

    @property
    def row_multiple(self) -> int:
        """Rows that must be computed together: blocks begin at a multiple of it, and end at one or with the weight."""
        return 1

    @abstractmethod
    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        """Add these rows of F(W₀; strength) − W₀ to `change`, in place.

        change (n, …): float32, contiguous. pristine (n, …): the same rows of the weight, any float dtype, not written.
        Differentiable in the factors if scratch is NO_REUSE.
        """

    def apply(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        """Write these rows of F(W₀; strength) to `out`; tensors as in `add`, no gradients."""
        out.copy_(pristine)
        self.add(out, pristine, strength, start, scratch)

    def bound(self, weight: float) -> float:
        """Return an upper bound of |change| at strength 1 (scale by |s|); inf if unknown.

        weight: the largest absolute value of the pristine weight.
        """
        del weight
        return inf

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that are held."""
        held = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return tuple(part for each in held for part in _tensors_in(each))


def _tensors_in(value: object) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, PreparedChange):
        return value.tensors
    several = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return tuple(part for each in several for part in _tensors_in(each))


@dataclass(frozen=True, eq=False)
class LowRankProduct(PreparedChange):
    """scale · left · right."""

    left: Tensor  # (o, r)
    right: Tensor  # (r, i·∏k)
    scale: float

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        rows = self.left[start : start + len(change)]
        change.view(len(change), -1).addmm_(rows, self.right, alpha=strength * self.scale)

    def bound(self, weight: float) -> float:
        return self._bound

    @cached_property
    def _bound(self) -> float:
        return abs(self.scale) * len(self.right) * largest(self.left) * largest(self.right)
