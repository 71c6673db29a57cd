"""HiRA: the elementwise product of a weight and a low-rank matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Size, Tensor

from lycoris.algorithms.change import NEEDS_ITS_BASE, ByRows, gamma, scalar_problems
from lycoris.kernels.linalg import matrix
from lycoris.kernels.prepared import LowRankProduct, PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HiRA(ByRows):
    """W₀ ∘ (1 + s·γ·B·A), of rank up to that of W₀ times r.

    Huang et al., *HiRA*, ICLR 2025, as PEFT `HiraConfig` writes it: no alpha, so γ = 1. (Some introductions call this
    LoHa, which adds instead: `loha.py`.) Under kohya's names an alpha is read as everywhere, γ = alpha/r.
    """

    hira_A: Tensor  # (r, i[, kh, kw])
    hira_B: Tensor  # (o, r[, 1, 1])
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {"hira_A": "hira_A", "hira_B": "hira_B", "alpha": "alpha"}
    SIGNS: ClassVar = frozenset({"hira_A", "hira_B"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        left, right = (weight.factor(matrix(factor)) for factor in (self.hira_B, self.hira_A))
        return _Factors(LowRankProduct(left, right, gamma(self.alpha, self.rank)))

    @property
    def name(self) -> str:
        return "hira"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.hira_B), *self.hira_A.shape[1:])

    @property
    def rank(self) -> int:
        return len(self.hira_A)

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        a, b = self.hira_A, self.hira_B
        if a.ndim < 2 or b.ndim < 2 or prod(b.shape[2:]) != 1:
            yield f"hira_B {tuple(b.shape)} and hira_A {tuple(a.shape)} are not (o, r) and (r, i, …)"
        elif b.shape[1] != len(a):
            yield f"hira_B has rank {b.shape[1]}, hira_A has rank {len(a)}"

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        yield from super().doubts(target)
        yield NEEDS_ITS_BASE


@dataclass(frozen=True, eq=False)
class _Factors(PreparedChange):
    """W₀ ∘ a low-rank product."""

    product: LowRankProduct

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        rows = self.product.left[start : start + len(change)]
        factors = scratch.product("factors", rows, self.product.right).view(change.shape)
        change.addcmul_(scratch.single("weight", pristine, change), factors, value=strength * self.product.scale)

    def bound(self, weight: float) -> float:
        return weight * self.product.bound(weight)
