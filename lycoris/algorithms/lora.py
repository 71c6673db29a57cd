"""LoRA and LoCon: a low-rank change of a matrix or of a convolution's kernel."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from torch import Size, Tensor

from lycoris.algorithms.change import ByRows, gamma, scalar_problems
from lycoris.kernels.linalg import holds, inward, matrix
from lycoris.kernels.prepared import LowRankProduct, PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoRA(ByRows):
    """W₀ + s·γ·up·down, with γ = alpha/r; with a Tucker core, W₀ + s·γ·Σₘₙ up[o, m]·mid[m, n, …]·down[n, i].

    Hu et al., *LoRA*, 2021 (arXiv 2106.09685); for convolutions LoCon, Yeh et al., 2023 (arXiv 2309.14859). The core is
    the CP/Tucker form of LyCORIS `use_cp`. `scale`, where a file has it, replaces γ. LyCORIS' `extract` may add a
    sparse residual, the elements that low rank approximates worst: s·γ·`bias_values` at `bias_indices`, of the weight
    despite their names. DyLoRA writes the same form.
    """

    lora_up: Tensor  # (o, r[, 1, 1])
    lora_down: Tensor  # (r, i[, kh, kw]); with a core (r, i[, 1, 1])
    lora_mid: Tensor | None = None  # (r, r, kh, kw)
    alpha: Tensor | None = None  # ()
    scale: Tensor | None = None  # ()
    bias_indices: Tensor | None = None  # (2, n), rows and columns of the weight as a matrix
    bias_values: Tensor | None = None  # (n,)
    bias_size: Tensor | None = None  # (2,), the shape of that matrix

    SUFFIXES: ClassVar = {
        "lora_up.weight": "lora_up",
        "lora_down.weight": "lora_down",
        "lora_mid.weight": "lora_mid",
        "alpha": "alpha",
        "scale": "scale",
        "bias_indices": "bias_indices",
        "bias_values": "bias_values",
        "bias_size": "bias_size",
    }
    SIGNS: ClassVar = frozenset({"lora_up.weight", "lora_down.weight", "lora_mid.weight"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        up, down = (weight.factor(matrix(factor)) for factor in (self.lora_up, self.lora_down))
        if self.lora_mid is not None:
            down = inward(weight.factor(self.lora_mid), down)
        product = LowRankProduct(up, down, self.gamma)
        if self.bias_indices is None or self.bias_values is None:
            return product
        rows, columns = self.bias_indices.long().to(weight.device)
        return _WithResidual(product, rows, columns, weight.factor(self.bias_values))

    @property
    def name(self) -> str:
        return "locon" if prod(self.shape[2:]) > 1 else "lora"

    @property
    def shape(self) -> tuple[int, ...]:
        kernel = self.lora_down if self.lora_mid is None else self.lora_mid
        return (len(self.lora_up), self.lora_down.shape[1], *kernel.shape[2:])

    @property
    def rank(self) -> int:
        return len(self.lora_down)

    def first_ranks(self, count: int) -> "LoRA":
        if self.bias_indices is not None:
            raise ValueError("the first ranks mean nothing with a sparse residual, which belongs to all of them")
        if not 1 <= count <= min(self.lora_up.shape[1], self.rank):
            raise ValueError(f"there are no first {count} ranks of {self.rank}")
        core = None if self.lora_mid is None else self.lora_mid[:count, :count]
        # γ becomes alpha/count, as in training
        return replace(self, lora_up=self.lora_up[:, :count], lora_down=self.lora_down[:count], lora_mid=core)

    @property
    def gamma(self) -> float:
        """The factor of the product as trained: `scale` if there is one, else alpha/r."""
        return float(self.scale) if self.scale is not None else gamma(self.alpha, self.rank)

    @property
    def unscaled(self) -> bool:
        return self.alpha is None and self.scale is None

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha, scale=self.scale)
        yield from self._sparse_problems()
        up, down, mid = self.lora_up, self.lora_down, self.lora_mid
        if up.ndim < 2 or down.ndim < 2 or prod(up.shape[2:]) != 1:
            yield f"lora_up {tuple(up.shape)} and lora_down {tuple(down.shape)} are not (o, r) and (r, i, …)"
        elif mid is None and up.shape[1] != len(down):
            yield f"lora_up has rank {up.shape[1]}, lora_down has rank {len(down)}"
        elif mid is not None and prod(down.shape[2:]) != 1:
            yield f"lora_down {tuple(down.shape)} has a kernel although lora_mid holds it"
        elif mid is not None and mid.shape[:2] != (up.shape[1], len(down)):
            yield f"lora_mid {tuple(mid.shape)} does not join rank {up.shape[1]} of lora_up to {len(down)} of lora_down"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        sparse, axes = self.bias_indices, (target[0], prod(target[1:]))
        if sparse is not None and any(holds(row >= size) for row, size in zip(sparse, axes, strict=True)):
            return f"has bias_indices beyond a {tuple(target)} weight"
        return super().misfit(target)

    def _sparse_problems(self) -> Iterator[str]:
        indices, values, size = self.bias_indices, self.bias_values, self.bias_size
        if indices is None or values is None or size is None:
            if (indices, values, size) != (None, None, None):
                yield "of bias_indices, bias_values and bias_size one is missing"
        elif values.ndim != 1 or indices.shape != (2, len(values)) or size.shape != (2,):
            shapes = [tuple(tensor.shape) for tensor in (indices, values, size)]
            yield f"bias_indices, bias_values and bias_size {shapes} are not (2, n), (n,) and (2,)"
        elif indices.is_floating_point():
            yield "bias_indices is not of integers: rounded indices are useless"
        elif holds(indices < 0):
            # LyCORIS writes int16, which overflows in a matrix of more than 32767 columns.
            yield "bias_indices holds negative values: they overflowed when the file was written"


@dataclass(frozen=True, eq=False)
class _WithResidual(PreparedChange):
    """A low-rank product plus a sparse residual."""

    product: LowRankProduct
    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    values: Tensor  # (n,), not yet times the product's scale

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        self.product.add(change, pristine, strength, start, scratch)
        here = (self.rows >= start) & (self.rows < start + len(change))
        positions = (self.rows[here] - start, self.columns[here])
        residual = strength * self.product.scale * self.values[here]
        change.view(len(change), -1).index_put_(positions, residual, accumulate=True)
