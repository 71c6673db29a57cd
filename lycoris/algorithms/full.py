"""Full: the whole difference of a weight or a bias, stored as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import Change


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Full(Change):
    """W₀ + s·diff: what full fine-tuning changed. No rank, no alpha (LyCORIS `full`, kohya `diff`)."""

    diff: Tensor  # as the weight

    SUFFIXES: ClassVar = {"diff": "diff"}
    SIGNS: ClassVar = frozenset({"diff"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.diff.to(change).reshape(change.shape), alpha=strength)

    @property
    def name(self) -> str:
        return "full"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.diff.shape)

    def problems(self) -> Iterator[str]:
        if self.diff.ndim == 0:
            yield "diff is a single number"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FullBias(Change):
    """b₀ + s·diff_b: the difference of a bias, beside any algorithm or alone."""

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
