"""Full: the whole difference of a weight or a bias, stored as it is."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.algorithms.stored import Difference
from lycoris.kernels.linalg import largest
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


class Full(Difference):
    """W₀ + s·diff: the result of full fine-tuning (LyCORIS `full`, kohya `diff`)."""

    NAME: ClassVar = "full"
    SUFFIXES: ClassVar = {"diff": "stored"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        return _Difference(self.stored.to(weight.device))


class FullBias(Difference):
    """b₀ + s·diff_b: the difference of a bias, together with any algorithm or alone."""

    NAME: ClassVar = "full"
    VECTOR: ClassVar = True
    SUFFIXES: ClassVar = {"diff_b": "stored"}
    SIGNS: ClassVar = frozenset(SUFFIXES)


@dataclass(frozen=True, eq=False)
class _Difference(PreparedChange):
    """The stored difference, in the dtype of the file: converting it to float32 would cost more than every sum."""

    diff: Tensor  # (o, …)

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        change.add_(self._rows(change, start, scratch), alpha=strength)

    def apply(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        torch.add(pristine, self._rows(out, start, scratch), alpha=strength, out=out)  # one pass in place of two

    def bound(self, weight: float) -> float:
        return self._bound

    @cached_property
    def _bound(self) -> float:
        return largest(self.diff)

    def _rows(self, like: Tensor, start: int, scratch: Scratch) -> Tensor:
        rows = self.diff[start : start + len(like)].reshape(like.shape)
        return rows if rows.dtype == like.dtype else scratch.copy("difference", rows, like)
