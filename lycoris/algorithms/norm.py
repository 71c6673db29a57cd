"""Norm: the differences of a normalisation layer's weight and bias."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import Change


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Norm(Change):
    """w₀ + s·w_norm, of a LayerNorm, GroupNorm or RMSNorm (LyCORIS `train_norm`)."""

    w_norm: Tensor  # (C,)

    SUFFIXES: ClassVar = {"w_norm": "w_norm"}
    SIGNS: ClassVar = frozenset({"w_norm"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.w_norm.to(change), alpha=strength)

    @property
    def name(self) -> str:
        return "norm"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.w_norm.shape)

    def problems(self) -> Iterator[str]:
        if self.w_norm.ndim != 1:
            yield f"w_norm must be a vector and is of shape {tuple(self.w_norm.shape)}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NormBias(Change):
    """b₀ + s·b_norm; an RMSNorm has none, and a file may hold either without the other."""

    b_norm: Tensor  # (C,)

    SUFFIXES: ClassVar = {"b_norm": "b_norm"}
    SIGNS: ClassVar = frozenset({"b_norm"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.b_norm.to(change), alpha=strength)

    @property
    def name(self) -> str:
        return "norm"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.b_norm.shape)

    def problems(self) -> Iterator[str]:
        if self.b_norm.ndim != 1:
            yield f"b_norm must be a vector and is of shape {tuple(self.b_norm.shape)}"
