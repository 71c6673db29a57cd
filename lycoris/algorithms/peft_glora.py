"""PEFT's GLoRA, a different algorithm from LyCORIS' of the same name: every part of it acts elementwise."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ANY, NEEDS_ITS_BASE, Change
from lycoris.kernels.linalg import holds


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PeftGLoRA(Change):
    """W₀ + s·(W₀ ∘ A + B), where A and B are each a low-rank product, a column, a scalar or zero.

    Chavan et al., *One-for-All: Generalized LoRA*, 2023 (arXiv 2306.07967), as PEFT `GloraConfig` writes it.
    """

    glora_A_Xd: Tensor | None = None  # (o, r)
    glora_A_Xu: Tensor | None = None  # (r, i)
    glora_A_X: Tensor | None = None  # (o, 1) or (1,)
    glora_A_zeros: Tensor | None = None  # zero, stored as a tensor of zeros
    glora_B_Xd: Tensor | None = None
    glora_B_Xu: Tensor | None = None
    glora_B_X: Tensor | None = None
    glora_B_zeros: Tensor | None = None

    SUFFIXES: ClassVar = {f"glora_{p}.{x}": f"glora_{p}_{x}" for p in "AB" for x in ("Xd", "Xu", "X", "zeros")}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        factor, added = (_path(change, *self._parts(name)) for name in "AB")
        if factor is not None:
            change.addcmul_(pristine.to(change).flatten(1).view_as(change), _spread(factor, change), value=strength)
        if added is not None:
            change.add_(_spread(added, change), alpha=strength)

    @property
    def name(self) -> str:
        return "glora"

    @property
    def shape(self) -> tuple[int, ...]:
        down, up, column, _ = self._parts("A") if self.glora_A_zeros is None else self._parts("B")
        if down is not None and up is not None:
            return (len(down), up.shape[1])
        return (len(column), ANY) if column is not None and column.numel() > 1 else (ANY, ANY)

    @property
    def rank(self) -> int | None:
        factor = self.glora_A_Xu if self.glora_A_Xu is not None else self.glora_B_Xu
        return None if factor is None else len(factor)

    def problems(self) -> Iterator[str]:
        shapes: set[tuple[int, int]] = set()
        for name in "AB":
            down, up, column, zeros = self._parts(name)
            yield from path_problems(f"glora_{name}", down, up, column, zeros)
            if down is not None and up is not None and down.ndim == up.ndim == 2:
                shapes.add((len(down), up.shape[1]))
        if len(shapes) > 1:
            yield f"glora_A and glora_B are of two shapes, {sorted(shapes)}"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        columns = (column for _, _, column, _ in map(self._parts, "AB") if column is not None)
        if any(column.numel() not in (1, target[0]) for column in columns):
            return f"has columns that do not fit a {tuple(target)} weight"
        return super().misfit(target) if ANY not in self.shape else None

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        yield from super().doubts(target)
        yield NEEDS_ITS_BASE

    def _parts(self, name: str) -> tuple[Tensor | None, ...]:
        return tuple(getattr(self, f"glora_{name}_{part}") for part in ("Xd", "Xu", "X", "zeros"))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PeftGLoRABias(Change):
    """b₀ + s·(b₀ ∘ D + E + W₀·C): D and E a vector, a scalar or zero; C a column, a product of rank r or zero.

    The only change of a bias that is computed from the layer's weight; from the pristine one in every mode, as in PEFT.
    """

    glora_C_Xd: Tensor | None = None  # (i, r)
    glora_C_Xu: Tensor | None = None  # (r, 1)
    glora_C_X: Tensor | None = None  # (i, 1)
    glora_C_zeros: Tensor | None = None
    glora_D_X: Tensor | None = None  # (o,) or (1,)
    glora_D_zeros: Tensor | None = None
    glora_E_X: Tensor | None = None
    glora_E_zeros: Tensor | None = None

    SUFFIXES: ClassVar = {f"glora_C.{x}": f"glora_C_{x}" for x in ("Xd", "Xu", "X", "zeros")} | {
        f"glora_{p}.{x}": f"glora_{p}_{x}" for p in "DE" for x in ("X", "zeros")
    }
    SIGNS: ClassVar = frozenset(SUFFIXES)
    OPTIONAL: ClassVar = True  # PEFT writes its zeros for a layer without a bias too

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        assert not self.needs_weight, "with_weight comes first"
        if self.glora_D_X is not None:
            change.addcmul_(pristine.to(change), self.glora_D_X.to(change), value=strength)
        if self.glora_E_X is not None:
            change.add_(self.glora_E_X.to(change), alpha=strength)

    @property
    def needs_weight(self) -> bool:
        column = self._column()
        return column.requires_grad or holds(column)  # a column in training begins at zero

    def with_weight(self, weight: Tensor) -> "PeftGLoRABias":
        if not self.needs_weight:
            return self
        rows = weight.flatten(1).float()
        added = (rows @ self._column().to(rows)).flatten()
        if self.glora_E_X is not None:
            added = added + self.glora_E_X.to(added)
        return PeftGLoRABias(glora_D_X=self.glora_D_X, glora_E_X=added)

    def misfit_with_weight(self, weight: Size | tuple[int, ...]) -> str | None:
        inputs = len(self._column())
        if self.needs_weight and inputs != prod(weight[1:]):
            return f"has a glora_C of {inputs} inputs for a {tuple(weight)} weight"
        return None

    def _column(self) -> Tensor:
        """Return C as a column (i, 1), or a single 0."""
        if self.glora_C_Xd is not None and self.glora_C_Xu is not None:
            return self.glora_C_Xd.float() @ self.glora_C_Xu.float()
        return torch.zeros(1, 1) if self.glora_C_X is None else self.glora_C_X.float().reshape(-1, 1)

    @property
    def name(self) -> str:
        return "glora"

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = [x.numel() for x in (self.glora_D_X, self.glora_E_X, self.glora_D_zeros) if x is not None]
        return (max(sizes, default=1) if max(sizes, default=1) > 1 else ANY,)

    def problems(self) -> Iterator[str]:
        down, up, column = self.glora_C_Xd, self.glora_C_Xu, self.glora_C_X
        yield from path_problems("glora_C", down, up, column, self.glora_C_zeros)
        yield from path_problems("glora_D", None, None, self.glora_D_X, self.glora_D_zeros)
        yield from path_problems("glora_E", None, None, self.glora_E_X, self.glora_E_zeros)
        vectors = [x.numel() for x in (self.glora_D_X, self.glora_E_X) if x is not None and x.numel() > 1]
        if len(set(vectors)) > 1:
            yield f"glora_D and glora_E are of two lengths, {vectors}"
        if up is not None and up.ndim == 2 and up.shape[1] != 1:
            yield f"glora_C.Xu {tuple(up.shape)} does not make one column"


def path_problems(
    name: str, down: Tensor | None, up: Tensor | None, column: Tensor | None, zeros: Tensor | None
) -> Iterator[str]:
    """Yield why the tensors of one path are not exactly one of: a product, a column, a scalar, zero."""
    ways = ((down is not None) or (up is not None)) + (column is not None) + (zeros is not None)
    if ways > 1 or (down is None) != (up is None):
        yield f"{name} is incomplete, or stored in two ways"
    elif down is not None and up is not None and (down.ndim != 2 or up.ndim != 2 or down.shape[1] != len(up)):
        yield f"{name} is made of {tuple(down.shape)} and {tuple(up.shape)}, which do not join"
    elif column is not None and sum(size > 1 for size in column.shape) > 1:
        yield f"{name} must be a row or a column and is of shape {tuple(column.shape)}"
    elif zeros is not None and holds(zeros):
        yield f"{name}.zeros holds other values than zeros"


def _path(
    change: Tensor, down: Tensor | None, up: Tensor | None, column: Tensor | None, zeros: Tensor | None
) -> Tensor | None:
    del zeros
    if down is not None and up is not None:
        return down.to(change) @ up.to(change)
    return None if column is None else column.to(change).reshape(-1, 1)


def _spread(factor: Tensor, change: Tensor) -> Tensor:
    return factor.expand(len(change), change[0].numel()).reshape(change.shape)
