"""DoRA: a change of low rank that turns the rows (or columns) of a weight, and a magnitude that stretches them."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, nan
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ByRows, Change
from lycoris.kernels.linalg import holds, largest
from lycoris.kernels.prepared import Ready, Seen
from lycoris.kernels.row_blocks import blocks
from lycoris.kernels.scratch import Scratch

EPS = torch.finfo(torch.float32).eps  # LyCORIS' guard against a row of zeros
SQUARED = 1e14  # of a billion numbers below it float32 holds the sum of squares
OUTPUT, INPUT = 0, 1  # the axis of the weight along which a magnitude lies


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DoRA(ByRows):
    """W₀ + s·(m·V/(‖V‖ + ε) − W₀), where V = W₀ + Δ and Δ is the change of a LoRA, LoHa or LoKr as trained.

    Liu et al., *DoRA*, 2024 (arXiv 2402.09353). The norm is taken over all axes but the one along which m lies: per
    output (PEFT, ai-toolkit, LyCORIS from 3.2) or per input (LyCORIS 2.2 to 3.1); the shape of `dora_scale` tells.
    The strength is a straight line from W₀ to the trained weight (three other laws are in use; all agree at 1).
    """

    layer: Change
    dora_scale: Tensor | None = None  # (o, 1[, 1, 1]) per output, (1, i[, 1, 1]) per input, or a vector
    lora_magnitude_vector: Tensor | None = None  # (o,) or (1, o, 1, 1), per output always: PEFT's own name

    SUFFIXES: ClassVar = {"dora_scale": "dora_scale", "lora_magnitude_vector": "lora_magnitude_vector"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def ready(self, weight: Seen, scratch: Scratch) -> Ready:
        layer, axis = self.layer.ready(weight, scratch), self._axis(weight.shape)
        # As a row or a column, never broadcast by its own shape
        shape = [-1 if k == axis else 1 for k in range(len(weight.shape))]
        magnitude = weight.factor(self.magnitude).reshape(shape)
        if axis == OUTPUT:
            return _PerOutput(layer, magnitude)
        return _PerInput(layer, _per_norm(magnitude, _input_norm(layer, weight, scratch).reshape(shape)))

    @property
    def magnitude(self) -> Tensor:
        """The magnitudes as stored, whichever name they go by."""
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


def _turned(layer: Ready, pristine: Tensor, like: Tensor, start: int, scratch: Scratch) -> Tensor:
    turned = scratch.copy("turned", pristine, like)
    layer.add(turned, pristine, 1.0, start, scratch)
    return turned


def _input_norm(layer: Ready, weight: Seen, scratch: Scratch) -> Tensor:
    """Return the norm of what each input of V is multiplied by, (i,): over all rows, block after block."""
    whole = weight.whole()
    total = torch.zeros(whole.shape[1], dtype=weight.dtype, device=weight.device)
    for start, stop in blocks(whole.shape, layer.step):
        turned = _turned(layer, whole[start:stop], total, start, scratch)
        total = total + (turned * turned).sum(dim=[k for k in range(turned.ndim) if k != INPUT])
    return total.sqrt()


def _per_norm(magnitude: Tensor, norm: Tensor) -> Tensor:
    """Return m/(‖V‖ + ε); not a number where float32 cannot hold the norm, so that it is noticed."""
    return magnitude / (norm + EPS).masked_fill(norm.isinf(), nan)


class _Stretched(Ready):
    """f ∘ V in place of W₀, f one factor for each row or column."""

    layer: Ready

    @property
    def step(self) -> int:
        return self.layer.step

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        turned = _turned(self.layer, pristine, change, start, scratch)
        change.add_(turned * self._factor(turned, start) - pristine.to(change), alpha=strength)

    def wear(self, out: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        turned = _turned(self.layer, pristine, out, start, scratch)
        turned.mul_(self._factor(turned, start))
        torch.lerp(pristine.to(out), turned, strength, out=out)

    @abstractmethod
    def _factor(self, turned: Tensor, start: int) -> Tensor:
        """Return f for these rows of V, the first of which is row `start`."""


@dataclass(frozen=True, eq=False)
class _PerInput(_Stretched):
    """… of a factor for each input, which all rows have a part in."""

    layer: Ready
    factor: Tensor  # (1, i, 1, …)

    def _factor(self, turned: Tensor, start: int) -> Tensor:
        return self.factor


@dataclass(frozen=True, eq=False)
class _PerOutput(_Stretched):
    """… of a factor for each output, found when its row first comes by, and kept."""

    layer: Ready
    magnitude: Tensor  # (o, 1, …)
    factors: dict[int, Tensor] = field(default_factory=dict)  # by the row that a block starts with

    def _factor(self, turned: Tensor, start: int) -> Tensor:
        factor = self.factors.get(start)
        if factor is None or len(factor) != len(turned):
            norm = torch.linalg.vector_norm(turned, dim=list(range(1, turned.ndim)), keepdim=True)
            factor = self.factors[start] = _per_norm(self.magnitude[start : start + len(turned)], norm)
        return factor

    def most(self, weight: float) -> float:
        if not self.layer.most(weight) + weight < SQUARED:
            return inf
        return largest(self.magnitude) + weight  # no number of a row is larger than its norm
