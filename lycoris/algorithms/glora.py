"""GLoRA: a low-rank change, plus a low-rank recombination of the weight's own inputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

from torch import Size, Tensor

from lycoris.algorithms.change import NEEDS_ITS_BASE, Change, gamma, scalar_problems
from lycoris.kernels.linalg import by_rows, fits, matrix


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GLoRA(Change):
    """W₀ + s·γ·(W₀ ×ᵢ (a1·a2) + b1·b2), γ = alpha/r, where ×ᵢ contracts the inputs.

    Chavan et al., *One-for-All: Generalized LoRA*, 2023 (arXiv 2306.07967), as LyCORIS `glora` writes it. Before 3.0
    it wrote the factors in the other order, W₀ ×ᵢ (a2·a1) + b2·b1, under the same names: the weight's shape decides.
    """

    a1: Tensor  # (i, r); before 3.0 (r, i)
    a2: Tensor  # (r, i); before 3.0 (i, r)
    b1: Tensor  # (o, r); before 3.0 (r, i[, kh, kw])
    b2: Tensor  # (r, i[, kh, kw]); before 3.0 (o, r)
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {"a1.weight": "a1", "a2.weight": "a2", "b1.weight": "b1", "b2.weight": "b2", "alpha": "alpha"}
    SIGNS: ClassVar = frozenset({"a1.weight", "a2.weight", "b1.weight", "b2.weight"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        (form,) = self._forms(change.shape)
        weight, scale = by_rows(pristine, change), strength * gamma(self.alpha, form.rank)
        left, right = (matrix(factor.to(change)) for factor in (form.a_left, form.a_right))
        inputs = weight.transpose(1, -1)  # inputs last, so that a matrix product contracts them
        change.transpose(1, -1).add_(inputs @ left @ right, alpha=scale)
        delta = matrix(form.b_left.to(change)) @ matrix(form.b_right.to(change))
        change.add_(delta.reshape(change.shape), alpha=scale)

    @property
    def name(self) -> str:
        return "glora"

    @property
    def shape(self) -> tuple[int, ...]:
        forms = self._joined()
        # If both orders are possible, the one of lower rank is assumed here; only the weight can decide.
        return min(forms, key=lambda form: form.rank).shape if forms else ()

    @property
    def rank(self) -> int:
        return min(form.rank for form in self._joined())

    @property
    def unscaled(self) -> bool:
        return self.alpha is None

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        shapes = [tuple(factor.shape) for factor in (self.a1, self.a2, self.b1, self.b2)]
        if any(not 2 <= len(shape) <= 5 for shape in shapes):
            yield f"its factors a1, a2, b1, b2 {shapes} are not matrices or kernels"
        elif not self._joined():
            yield f"its factors a1, a2, b1, b2 {shapes} do not join"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        forms = self._forms(target)
        if len(forms) > 1:
            return "could be GLoRA as it was written before LyCORIS 3.0 or as since: every factor is square"
        return None if forms else super().misfit(target) or f"does not fit a {tuple(target)} weight"

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        yield from super().doubts(target)
        yield NEEDS_ITS_BASE

    def _forms(self, target: Size | tuple[int, ...]) -> list["_Form"]:
        return [
            form
            for form in self._joined()
            if len(target) > 1 and fits(form.shape, target) and form.inputs == target[1] and form.rank <= max(target)
        ]

    def _joined(self) -> list["_Form"]:
        new = _Form(self.a1, self.a2, self.b1, self.b2)
        return [form for form in (new, _Form(self.a2, self.a1, self.b2, self.b1)) if form.joined]


class _Form(NamedTuple):
    """One of the two ways in which the four factors can be read."""

    a_left: Tensor  # (i, r)
    a_right: Tensor  # (r, i)
    b_left: Tensor  # (o, r)
    b_right: Tensor  # (r, i, *k)

    @property
    def joined(self) -> bool:
        thin = all(prod(factor.shape[2:]) == 1 for factor in self[:3])
        inner = {self.a_left.shape[1], len(self.a_right), self.b_left.shape[1], len(self.b_right)}
        return thin and len(inner) == 1 and len(self.a_left) == self.a_right.shape[1]

    @property
    def rank(self) -> int:
        return len(self.b_right)

    @property
    def inputs(self) -> int:
        return len(self.a_left)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.b_left), *self.b_right.shape[1:])
