"""DoRA: the direction of a weight's rows (or columns) from a low-rank change, and their norm from a magnitude."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, nan
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ByRows, Change
from lycoris.kernels.linalg import holds, largest
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.row_blocks import blocks
from lycoris.kernels.scratch import Scratch

EPS = torch.finfo(torch.float32).eps  # LyCORIS adds it to the norm, against division by zero
SQUARED = 1e14  # float32 holds the sum of squares of a billion elements below it
OUTPUT, INPUT = 0, 1  # the axis of the weight along which a magnitude lies


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DoRA(ByRows):
    """W₀ + s·(m·V/(‖V‖ + ε) − W₀), where V = W₀ + Δ and Δ is the change of a LoRA, LoHa or LoKr as trained.

    Liu et al., *DoRA*, 2024 (arXiv 2402.09353). The norm is taken over all axes but the one along which m lies: per
    output (PEFT, ai-toolkit, LyCORIS from 3.2) or per input (LyCORIS 2.2 to 3.1); the shape of `dora_scale` tells.
    The strength is linear between W₀ and the trained weight (three other laws are in use; all agree at 1).
    """

    layer: Change
    dora_scale: Tensor | None = None  # (o, 1[, 1, 1]) per output, (1, i[, 1, 1]) per input, or a vector
    lora_magnitude_vector: Tensor | None = None  # (o,) or (1, o, 1, 1), per output always: PEFT's own name

    SUFFIXES: ClassVar = {"dora_scale": "dora_scale", "lora_magnitude_vector": "lora_magnitude_vector"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        layer, axis = self.layer.prepare(weight, scratch), self._axis(weight.shape)
        # Reshaped explicitly, never broadcast by its stored shape
        shape = [-1 if k == axis else 1 for k in range(len(weight.shape))]
        magnitude = weight.factor(self.magnitude).reshape(shape)
        if axis == OUTPUT:
            return _PerOutput(layer, magnitude)
        return _PerInput(layer, _per_norm(magnitude, _input_norm(layer, weight, scratch).reshape(shape)))

    @property
    def magnitude(self) -> Tensor:
        """The magnitude, whichever of the two names the file uses."""
        found = self.dora_scale if self.dora_scale is not None else self.lora_magnitude_vector
        assert found is not None, "a DoRA is only read from a group with a magnitude in it"
        return found

    @property
    def name(self) -> str:
        return f"dora-{self.layer.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layer.shape

    @property
    def rank(self) -> int | None:
        return self.layer.rank

    @property
    def unscaled(self) -> bool:
        return self.layer.unscaled

    def problems(self) -> Iterator[str]:
        yield from self.layer.problems()
        if self.dora_scale is not None and self.lora_magnitude_vector is not None:
            yield "has two magnitudes, dora_scale and lora_magnitude_vector"
        shape = self.magnitude.shape
        if sum(size > 1 for size in shape) > 1:
            yield f"its magnitude must be a row or a column and is of shape {tuple(shape)}"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        wrong = self.layer.misfit(target)
        if wrong:
            return wrong
        axis, scale = self._axis(target), self.dora_scale
        lies_elsewhere = scale is not None and scale.ndim > 1 and scale.shape[axis] != scale.numel()
        if len(target) < 2 or self.magnitude.numel() != target[axis] or lies_elsewhere:
            return f"has a magnitude of shape {tuple(self.magnitude.shape)} for a {tuple(target)} weight"
        return None

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        yield from self.layer.doubts(target)
        if self.dora_scale is not None and self.dora_scale.ndim < 2 and target[0] == target[1]:
            yield "its dora_scale is a vector and the weight is square: taken per output"
        if holds(self.magnitude <= 0):
            yield "its magnitude is not positive everywhere"

    def tensors(self) -> dict[str, Tensor]:
        return self.layer.tensors() | super().tensors()

    def _axis(self, target: Size | tuple[int, ...]) -> int:
        scale = self.dora_scale
        if scale is None or len(target) < 2:
            return OUTPUT
        if scale.ndim < 2:
            return INPUT if len(scale.flatten()) == target[1] != target[0] else OUTPUT
        return INPUT if scale.shape[0] == 1 and scale.numel() == scale.shape[1] == target[1] else OUTPUT


def _changed(layer: PreparedChange, pristine: Tensor, like: Tensor, start: int, scratch: Scratch) -> Tensor:
    """Return these rows of V."""
    changed = scratch.copy("changed", pristine, like)
    layer.add(changed, pristine, 1.0, start, scratch)
    return changed


def _input_norm(layer: PreparedChange, weight: WeightView, scratch: Scratch) -> Tensor:
    """Return the norm of V per input, (i,), summed over all rows block by block."""
    whole = weight.whole()
    total = torch.zeros(whole.shape[1], dtype=weight.dtype, device=weight.device)
    for start, stop in blocks(whole.shape, layer.row_multiple):
        changed = _changed(layer, whole[start:stop], total, start, scratch)
        total = total + (changed * changed).sum(dim=[k for k in range(changed.ndim) if k != INPUT])
    return total.sqrt()


def _per_norm(magnitude: Tensor, norm: Tensor) -> Tensor:
    """Return m/(‖V‖ + ε); NaN where the norm overflows float32, so that the result is refused as not finite."""
    return magnitude / (norm + EPS).masked_fill(norm.isinf(), nan)


class _Rescaled(PreparedChange):
    """f ∘ V in place of W₀, where f is one factor per row or column."""

    layer: PreparedChange

    @property
    def row_multiple(self) -> int:
        return self.layer.row_multiple

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        changed = _changed(self.layer, pristine, change, start, scratch)
        change.add_(changed * self._factor(changed, start) - pristine.to(change), alpha=strength)

    def apply(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        changed = _changed(self.layer, pristine, out, start, scratch)
        changed.mul_(self._factor(changed, start))
        torch.lerp(pristine.to(out), changed, strength, out=out)

    @abstractmethod
    def _factor(self, changed: Tensor, start: int) -> Tensor:
        """Return f for these rows of V, which begin with row `start`."""


@dataclass(frozen=True, eq=False)
class _PerInput(_Rescaled):
    """f per input: a norm over all rows, computed in advance."""

    layer: PreparedChange
    factor: Tensor  # (1, i, 1, …)

    def _factor(self, changed: Tensor, start: int) -> Tensor:
        return self.factor


@dataclass(frozen=True, eq=False)
class _PerOutput(_Rescaled):
    """f per output: computed when a block of rows is first applied, and kept."""

    layer: PreparedChange
    magnitude: Tensor  # (o, 1, …)
    factors: dict[int, Tensor] = field(default_factory=dict[int, Tensor])  # by the first row of a block

    def _factor(self, changed: Tensor, start: int) -> Tensor:
        factor = self.factors.get(start)
        if factor is None or len(factor) != len(changed):
            norm = torch.linalg.vector_norm(changed, dim=list(range(1, changed.ndim)), keepdim=True)
            factor = self.factors[start] = _per_norm(self.magnitude[start : start + len(changed)], norm)
        return factor

    def bound(self, weight: float) -> float:
        if not self.layer.bound(weight) + weight < SQUARED:
            return inf
        return largest(self.magnitude) + weight  # no element of a row is larger than its norm
