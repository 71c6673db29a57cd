"""LoHa: the elementwise product of two low-rank matrices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.algorithms.change import ByRows, gamma, scalar_problems
from lycoris.kernels.linalg import inward, is_single
from lycoris.kernels.prepared import LowRankProduct, PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoHa(ByRows):
    """W₀ + s·γ·(w1_a·w1_b) ∘ (w2_a·w2_b), with γ = alpha/r; of rank up to r².

    Hyeon-Woo et al., *FedPara*, 2021 (arXiv 2108.06098); in LyCORIS, Yeh et al., 2023 (arXiv 2309.14859). With the
    cores t1 and t2 each half is a Tucker product instead, and w*_a is stored transposed.
    (`W₀ ∘ (1 + B·A)`, which some introductions call LoHa, is HiRA: a different algorithm with other tensor names.)
    """

    hada_w1_a: Tensor  # (o, r); with cores (r, o)
    hada_w1_b: Tensor  # (r, i·∏k); with cores (r, i)
    hada_w2_a: Tensor  # as hada_w1_a
    hada_w2_b: Tensor  # as hada_w1_b
    hada_t1: Tensor | None = None  # (r, r, kh, kw)
    hada_t2: Tensor | None = None  # (r, r, kh, kw)
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {
        "hada_w1_a": "hada_w1_a",
        "hada_w1_b": "hada_w1_b",
        "hada_w2_a": "hada_w2_a",
        "hada_w2_b": "hada_w2_b",
        "hada_t1": "hada_t1",
        "hada_t2": "hada_t2",
        "alpha": "alpha",
    }
    SIGNS: ClassVar = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        first = _half(self.hada_t1, self.hada_w1_a, self.hada_w1_b, weight)
        return _Halves(first, _half(self.hada_t2, self.hada_w2_a, self.hada_w2_b, weight), self.gamma)

    @property
    def name(self) -> str:
        return "loha"

    @property
    def shape(self) -> tuple[int, ...]:
        if self.hada_t1 is None:
            return (len(self.hada_w1_a), self.hada_w1_b.shape[1])
        return (self.hada_w1_a.shape[1], self.hada_w1_b.shape[1], *self.hada_t1.shape[2:])

    @property
    def rank(self) -> int:
        return len(self.hada_w1_b)

    @property
    def gamma(self) -> float:
        """alpha/r, once, for the product of the two halves."""
        return gamma(self.alpha, self.rank)

    @property
    def unscaled(self) -> bool:
        return self.alpha is None

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        halves = (self.hada_w1_a, self.hada_w1_b), (self.hada_w2_a, self.hada_w2_b)
        cores = self.hada_t1, self.hada_t2
        if any(tensor.ndim != 2 for half in halves for tensor in half):
            yield "the factors hada_w1_a, hada_w1_b, hada_w2_a and hada_w2_b must be matrices"
        elif (cores[0] is None) != (cores[1] is None):
            yield "of the cores hada_t1 and hada_t2 only one is there"
        elif [t.shape for t in halves[0]] != [t.shape for t in halves[1]]:
            yield f"its two halves differ in shape: {[tuple(t.shape) for half in halves for t in half]}"
        elif cores[0] is None and self.hada_w1_a.shape[1] != self.rank:
            yield f"hada_w*_a has rank {self.hada_w1_a.shape[1]}, hada_w*_b has rank {self.rank}"
        elif cores[0] is not None and cores[1] is not None:
            ranks = (len(self.hada_w1_a), self.rank)
            if cores[0].shape != cores[1].shape or tuple(cores[0].shape[:2]) != ranks:
                yield f"cores {tuple(cores[0].shape)} and {tuple(cores[1].shape)} do not join factors of ranks {ranks}"


def _half(core: Tensor | None, a: Tensor, b: Tensor, weight: WeightView) -> LowRankProduct:
    left, right = weight.factor(a), weight.factor(b)
    if core is not None:
        left, right = weight.factor(left.T), inward(weight.factor(core), right)
    return LowRankProduct(left, right, 1.0)


@dataclass(frozen=True, eq=False)
class _Halves(PreparedChange):
    """scale · first ∘ second, both of low rank."""

    first: LowRankProduct
    second: LowRankProduct
    scale: float

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        first, second = self._products(change, start, scratch)
        change.addcmul_(first, second, value=strength * self.scale)

    def apply(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        if not is_single(pristine):
            return super().apply(out, pristine, strength, start, scratch)
        first, second = self._products(out, start, scratch)
        torch.addcmul(pristine, first, second, value=strength * self.scale, out=out)  # one pass in place of two

    def _products(self, like: Tensor, start: int, scratch: Scratch) -> Iterator[Tensor]:
        for name, half in (("first", self.first), ("second", self.second)):
            yield scratch.product(name, half.left[start : start + len(like)], half.right).view(like.shape)

    def bound(self, weight: float) -> float:
        return abs(self.scale) * self.first.bound(weight) * self.second.bound(weight)
