"""A change made ready for one weight: what does not depend on the strength, once; then any rows, at any strength."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from lycoris.kernels.linalg import aligned, largest
from lycoris.kernels.scratch import Scratch


class Seen(NamedTuple):
    """The weight that a change sees: rows of tensors, one below the other."""

    parts: tuple[Tensor, ...]  # pristine rows, wherever they are kept
    device: torch.device  # where the weight lives, and the change is computed
    stored: torch.dtype  # what the weight is made of; the parts may be in a wider one, as their file has them
    dtype: torch.dtype = torch.float32  # what the change is computed in

    @property
    def shape(self) -> torch.Size:
        """The shape of all rows together."""
        return torch.Size((sum(len(part) for part in self.parts), *self.parts[0].shape[1:]))

    def factor(self, tensor: Tensor) -> Tensor:
        """Return a factor as it is computed with: there, so precise, one row after the other, and aligned."""
        return aligned(tensor.to(self.device, self.dtype))

    def whole(self) -> Tensor:
        """Return all rows as one tensor, as the weight has them."""
        parts = [part.to(self.device, self.stored) for part in self.parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class Ready(ABC):
    """One change of one weight, its factors in float32 on the weight's device. Subclasses are frozen dataclasses.

    start: the row of the weight that the given rows begin with. room: memory for what is computed in between.
    """

    @property
    def step(self) -> int:
        """How many rows belong together: rows begin at a multiple of it, and end there or with the weight."""
        return 1

    @abstractmethod
    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        """Add these rows of F(W₀; strength) − W₀ to `change`, in place.

        change (n, …): float32, contiguous. pristine (n, …): the same rows of the weight, any float dtype, not written.
        Differentiable in the factors, if the room is FRESH.
        """

    def wear(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        """Write these rows of F(W₀; strength) to `out`, as `add` has them: float32, contiguous, no gradients."""
        out.copy_(pristine)
        self.add(out, pristine, strength, start, scratch)

    def most(self, weight: float) -> float:
        """Return what no number of the change is above at strength 1, nor times s at strength s; inf if none is known.

        weight: the largest absolute value of the pristine weight.
        """
        del weight
        return inf

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that it holds."""
        held = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return tuple(part for each in held for part in _tensors_in(each))


def _tensors_in(value: object) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, Ready):
        return value.tensors
    several = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return tuple(part for each in several for part in _tensors_in(each))


@dataclass(frozen=True, eq=False)
class LowRank(Ready):
    """scale · left · right."""

    left: Tensor  # (o, r)
    right: Tensor  # (r, i·∏k)
    scale: float

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        rows = self.left[start : start + len(change)]
        change.view(len(change), -1).addmm_(rows, self.right, alpha=strength * self.scale)

    def most(self, weight: float) -> float:
        return self._most

    @cached_property
    def _most(self) -> float:
        return abs(self.scale) * len(self.right) * largest(self.left) * largest(self.right)
