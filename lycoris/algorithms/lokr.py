"""LoKr: the Kronecker product of two small factors, either of which may itself be of low rank."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lycoris.algorithms.change import ByRows, gamma, scalar_problems
from lycoris.kernels.linalg import is_single, largest, matrix, tucker
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch

NARROW = 64  # row length of w2 below which broadcasting over it is slower than over whole rows (measured)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoKr(ByRows):
    """W₀ + s·γ·w1 ⊗ w2, with γ = alpha/r if either factor is of low rank and 1 if both are whole, or `scale`.

    Edalati et al., *KronA*, 2022 (arXiv 2212.10650); in LyCORIS, Yeh et al., 2023 (arXiv 2309.14859).
    w1 (a, c) and w2 (b, d, *k) with a·b = o and c·d = i; w1 = w1_a·w1_b, w2 = w2_a·w2_b or a Tucker product with t2.
    """

    lokr_w1: Tensor | None = None  # (a, c)
    lokr_w1_a: Tensor | None = None  # (a, r)
    lokr_w1_b: Tensor | None = None  # (r, c)
    lokr_w2: Tensor | None = None  # (b, d[, kh, kw])
    lokr_w2_a: Tensor | None = None  # (b, r); with a core (r, b)
    lokr_w2_b: Tensor | None = None  # (r, d·∏k) or (r, d, kh, kw); with a core (r, d)
    lokr_t2: Tensor | None = None  # (r, r, kh, kw)
    alpha: Tensor | None = None  # ()
    scale: Tensor | None = None  # () in place of γ: PEFT's configuration, which scales whole factors too

    SUFFIXES: ClassVar = {
        "lokr_w1": "lokr_w1",
        "lokr_w1_a": "lokr_w1_a",
        "lokr_w1_b": "lokr_w1_b",
        "lokr_w2": "lokr_w2",
        "lokr_w2_a": "lokr_w2_a",
        "lokr_w2_b": "lokr_w2_b",
        "lokr_t2": "lokr_t2",
        "alpha": "alpha",
        "scale": "scale",
    }
    SIGNS: ClassVar = frozenset(suffix for suffix in SUFFIXES if suffix.startswith("lokr_"))

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        w1, w2 = self._w1.product(weight), self._w2.product(weight)
        if w2.shape[1] >= NARROW:
            return _Kronecker(w1[:, :, None], w2[:, None, :], self.gamma)
        spread, tiled = w1.repeat_interleave(w2.shape[1], 1), w2.repeat(1, w1.shape[1])
        return _Kronecker(spread[:, None, :], tiled[:, None, :], self.gamma)

    @property
    def name(self) -> str:
        return "lokr"

    @property
    def shape(self) -> tuple[int, ...]:
        (a, c), (b, d, *kernel) = self._w1.shape, self._w2.shape
        return (a * b, c * d, *kernel)

    @property
    def rank(self) -> int | None:
        factor = self.lokr_w2_b if self.lokr_w2_b is not None else self.lokr_w1_b
        return None if factor is None else len(factor)

    @property
    def gamma(self) -> float:
        """alpha/r, once even when both factors are of low rank; 1 when neither is, whatever alpha says."""
        if self.scale is not None:
            return float(self.scale)
        return 1.0 if self.rank is None else gamma(self.alpha, self.rank)

    def by_kernel(self, positions: int) -> bool:
        """Tell whether the right factor holds all positions of a kernel, and the left one none."""
        return prod(self._w2.shape[1:]) % positions == 0

    @property
    def unscaled(self) -> bool:
        return self.rank is not None and self.alpha is None and self.scale is None

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha, scale=self.scale)
        for name, factor in (("lokr_w1", self._w1), ("lokr_w2", self._w2)):
            wrong = factor.problem()
            if wrong:
                yield f"{name} {wrong}"

    @property
    def _w1(self) -> "_Factor":
        return _Factor(self.lokr_w1, self.lokr_w1_a, self.lokr_w1_b, None, most_axes=2)

    @property
    def _w2(self) -> "_Factor":
        return _Factor(self.lokr_w2, self.lokr_w2_a, self.lokr_w2_b, self.lokr_t2, most_axes=5)


class _Factor(NamedTuple):
    """One side of the product: whole, or a·b, or a Tucker product of a and b with a core."""

    whole: Tensor | None
    a: Tensor | None
    b: Tensor | None
    core: Tensor | None
    most_axes: int

    def problem(self) -> str | None:
        """Say what is wrong with the factor, or None."""
        whole, a, b, core = self.whole, self.a, self.b, self.core
        if (whole is None) != (a is not None and b is not None) or (whole is not None and (a, b, core) != (None,) * 3):
            return "is incomplete, or stored both whole and in parts"
        shapes = [tuple(tensor.shape) for tensor in (whole, a, b, core) if tensor is not None]
        if any(not 2 <= len(shape) <= self.most_axes for shape in shapes):
            return f"is made of {shapes}, which are not matrices or kernels"
        if whole is not None or a is None or b is None:
            return None
        if core is not None:
            joined = a.ndim == 2 and prod(b.shape[2:]) == 1 and tuple(core.shape[:2]) == (len(a), len(b))
        else:
            joined = a.ndim == 2 and a.shape[1] == len(b)
        return None if joined else f"is made of {shapes}, which do not join"

    @property
    def shape(self) -> tuple[int, ...]:
        if self.whole is not None:
            return tuple(self.whole.shape)
        assert self.a is not None and self.b is not None
        if self.core is not None:
            return (self.a.shape[1], self.b.shape[1], *self.core.shape[2:])
        return (len(self.a), *self.b.shape[1:])

    def product(self, weight: WeightView) -> Tensor:
        """Return the factor as a matrix, in the compute dtype of a weight's change."""
        if self.whole is not None:
            return weight.factor(matrix(self.whole))
        assert self.a is not None and self.b is not None
        a, b = weight.factor(self.a), weight.factor(matrix(self.b))
        return a @ b if self.core is None else matrix(tucker(weight.factor(self.core), a, b))


@dataclass(frozen=True, eq=False)
class _Kronecker(PreparedChange):
    """scale · w1 ⊗ w2, added without a tensor for the product itself."""

    w1: Tensor  # (a, c, 1), or each element repeated to the width of w2: (a, 1, i·∏k)
    w2: Tensor  # (b, 1, d·∏k), or tiled c times along its rows: (b, 1, i·∏k)
    scale: float

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        for rows, w1, w2 in self._runs(start, start + len(change)):
            part = self._blocks(change[rows], w1, w2)
            part.addcmul_(w1[:, None], w2[None], value=strength * self.scale)

    def apply(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        if not is_single(pristine):
            return super().apply(out, pristine, strength, start, scratch)
        for rows, w1, w2 in self._runs(start, start + len(out)):
            here, there = (self._blocks(tensor[rows], w1, w2) for tensor in (pristine, out))
            scale = strength * self.scale  # one pass in place of two
            torch.addcmul(here, w1[:, None], w2[None], value=scale, out=there)

    def _blocks(self, rows: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        return rows.view(len(w1), len(w2), w1.shape[1], w2.shape[2])  # (a, b, c, d·∏k), or (a, b, 1, i·∏k)

    def _runs(self, start: int, stop: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield rows of a block with the rows of w1 and of w2 whose product they are."""
        block, size = start, len(self.w2)
        while start < stop:
            outer, inner = divmod(start, size)
            if inner or stop - start < size:
                until = min(stop, (outer + 1) * size)
                w1, w2 = self.w1[outer : outer + 1], self.w2[inner : inner + until - start]
            else:
                until = stop // size * size
                w1, w2 = self.w1[outer : until // size], self.w2
            yield slice(start - block, until - block), w1, w2
            start = until

    def bound(self, weight: float) -> float:
        return self._bound

    @cached_property
    def _bound(self) -> float:
        return abs(self.scale) * largest(self.w1) * largest(self.w2)
