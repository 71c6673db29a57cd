"""(IA)³: one scale per row of a weight, or per column."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Size, Tensor

from lycoris.algorithms.change import ANY, Change, scalar_problems
from lycoris.kernels.linalg import holds


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IA3(Change):
    """W₀ ∘ (1 + s·w), where w lies along the outputs or, if `on_input` is not 0, along the inputs; never of the bias.

    Liu et al., *Few-Shot Parameter-Efficient Fine-Tuning*, 2022 (arXiv 2205.05638), as LyCORIS `ia3` writes it:
    centred on 0, for a convolution (1, C, 1, 1) whichever axis it means.
    """

    weight: Tensor  # (C,) or (1, C, 1, 1)
    on_input: Tensor  # ()

    SUFFIXES: ClassVar = {"weight": "weight", "on_input": "on_input"}
    SIGNS: ClassVar = frozenset({"on_input"})  # never `weight` alone: every unknown tensor ends in that

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.addcmul_(pristine.to(change), along(self.weight.to(change), self._axis, change.ndim), value=strength)

    @property
    def name(self) -> str:
        return "ia3"

    @property
    def shape(self) -> tuple[int, ...]:
        return (ANY, self.weight.numel()) if self._axis else (self.weight.numel(), ANY)

    @property
    def _axis(self) -> int:
        return int(holds(self.on_input))

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(on_input=self.on_input)
        if sum(size > 1 for size in self.weight.shape) > 1:
            yield f"weight must be a vector and is of shape {tuple(self.weight.shape)}"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        # On the meta device the value of on_input is not known.
        axes = (0, 1) if self.weight.is_meta else (self._axis,)
        if len(target) < 2 or self.weight.numel() not in [target[axis] for axis in axes]:
            side = "inputs" if self._axis else "outputs"
            return f"scales {self.weight.numel()} {side} of a {tuple(target)} weight"
        return None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PeftIA3(Change):
    """W₀ ∘ (1 + s·(l − 1)), along the inputs in a feed-forward layer and along the outputs elsewhere.

    PEFT `IA3Config`: centred on 1. The shape of a linear layer's l gives its axis, (o, 1) or (1, i); that of a
    convolution, (1, C, 1, 1), does not: there the size decides, or `is_feedforward` from the configuration.
    """

    ia3_l: Tensor
    is_feedforward: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {"ia3_l": "ia3_l", "is_feedforward": "is_feedforward"}
    SIGNS: ClassVar = frozenset({"ia3_l"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        (axis,) = self.axes(change.shape)
        scale = along(self.ia3_l.to(change), axis, change.ndim) - 1
        change.addcmul_(pristine.to(change), scale, value=strength)

    @property
    def name(self) -> str:
        return "ia3"

    @property
    def shape(self) -> tuple[int, ...]:
        axes = self.axes(None)
        return (self.ia3_l.numel(), ANY) if axes == (0,) else (ANY, self.ia3_l.numel()) if axes == (1,) else (ANY, ANY)

    def axes(self, target: Size | tuple[int, ...] | None) -> tuple[int, ...]:
        """Return the axes of a weight of this shape, or of an unknown one, along which l may lie."""
        if self.is_feedforward is not None:
            axes: tuple[int, ...] = (int(holds(self.is_feedforward)),)
        elif self.ia3_l.ndim == 2:
            axes = (0,) if self.ia3_l.shape[1] == 1 else (1,)
        else:
            axes = (0, 1)
        return axes if target is None else tuple(axis for axis in axes if self.ia3_l.numel() == target[axis])

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(is_feedforward=self.is_feedforward)
        if sum(size > 1 for size in self.ia3_l.shape) > 1:
            yield f"ia3_l must be a row or a column and is of shape {tuple(self.ia3_l.shape)}"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        axes = self.axes(target) if len(target) > 1 else ()
        if len(axes) > 1:
            return f"has an ia3_l {tuple(self.ia3_l.shape)} for inputs or outputs: only adapter_config.json tells which"
        return None if axes else f"scales {self.ia3_l.numel()} rows or columns of a {tuple(target)} weight"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PeftIA3Bias(Change):
    """b₀ ∘ (1 + s·(l − 1)): PEFT scales a layer's output, and so its bias too, if it has one."""

    layer: PeftIA3

    SUFFIXES: ClassVar = {}
    SIGNS: ClassVar = frozenset()
    OPTIONAL: ClassVar = True

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.addcmul_(pristine.to(change), self.layer.ia3_l.to(change).flatten() - 1, value=strength)

    @property
    def name(self) -> str:
        return "ia3"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.layer.ia3_l.numel(),)

    def problems(self) -> Iterator[str]:
        yield from ()


def along(row: Tensor, axis: int, ndim: int) -> Tensor:
    """Return a vector as a tensor of `ndim` axes that lies along one of them."""
    return row.reshape([-1 if k == axis else 1 for k in range(ndim)])
