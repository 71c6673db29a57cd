"""Full: the whole difference of a weight or a bias, stored as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.algorithms.change import ByRows, Change
from lycoris.kernels.linalg import largest
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Full(ByRows):
    """W₀ + s·diff: what full fine-tuning changed. No rank, no alpha (LyCORIS `full`, kohya `diff`)."""

    diff: Tensor  # as the weight

    SUFFIXES: ClassVar = {"diff": "diff"}
    SIGNS: ClassVar = frozenset({"diff"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        return _Difference(self.diff.to(weight.device))

    @property
    def name(self) -> str:
        return "full"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.diff.shape)

    def problems(self) -> Iterator[str]:
        if self.diff.ndim == 0:
            yield "diff is a scalar"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FullBias(Change):
    """b₀ + s·diff_b: the difference of a bias, together with any algorithm or alone."""

    diff_b: Tensor  # (o,)

    SUFFIXES: ClassVar = {"diff_b": "diff_b"}
    SIGNS: ClassVar = frozenset({"diff_b"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.diff_b.to(change), alpha=strength)

    @property
    def name(self) -> str:
        return "full"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.diff_b.shape)

    def problems(self) -> Iterator[str]:
        if self.diff_b.ndim != 1:
            yield f"diff_b must be a vector and is of shape {tuple(self.diff_b.shape)}"


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
