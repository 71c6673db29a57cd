"""DoRA: a change of low rank that turns the rows (or columns) of a weight, and a magnitude that stretches them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import Change
from lycoris.linalg import holds

EPS = torch.finfo(torch.float32).eps  # LyCORIS' guard against a row of zeros
OUTPUT, INPUT = 0, 1  # the axis of the weight along which a magnitude lies


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DoRA(Change):
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

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        original = pristine.to(change)
        turned = original.clone(memory_format=torch.contiguous_format)  # the verb asks for it
        self.layer.add_change(turned, pristine, 1.0)
        axis = self._axis(change.shape)
        norm = torch.linalg.vector_norm(turned, dim=[k for k in range(turned.ndim) if k != axis], keepdim=True)
        # On the weight's device and in its precision; as a row or a column, never broadcast by its own shape.
        magnitude = self.magnitude.to(change).reshape(norm.shape)
        change.add_(turned * (magnitude / (norm + EPS)) - original, alpha=strength)

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
