"""LoRA and LoCon: a change of low rank, to a matrix or to a convolution's kernel."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import Change, gamma, scalar_problems
from lycoris.linalg import matrix, tucker


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoRA(Change):
    """W₀ + s·γ·up·down, with γ = alpha/r; with a Tucker core, W₀ + s·γ·Σₘₙ up[o, m]·mid[m, n, …]·down[n, i].

    Hu et al., *LoRA*, 2021 (arXiv 2106.09685); for convolutions LoCon, Yeh et al., 2023 (arXiv 2309.14859). The core is
    the CP/Tucker form of LyCORIS `use_cp`. `scale`, where a file has it, stands in place of γ.
    """

    lora_up: Tensor  # (o, r[, 1, 1])
    lora_down: Tensor  # (r, i[, kh, kw]); with a core (r, i[, 1, 1])
    lora_mid: Tensor | None = None  # (r, r, kh, kw)
    alpha: Tensor | None = None  # ()
    scale: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {
        "lora_up.weight": "lora_up",
        "lora_down.weight": "lora_down",
        "lora_mid.weight": "lora_mid",
        "alpha": "alpha",
        "scale": "scale",
    }
    SIGNS: ClassVar = frozenset({"lora_up.weight", "lora_down.weight", "lora_mid.weight"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        up, down = matrix(self.lora_up.to(change)), self.lora_down.to(change)
        if self.lora_mid is None:
            change.view(len(change), -1).addmm_(up, matrix(down), alpha=strength * self.gamma)
            return
        delta = tucker(self.lora_mid.to(change), up.T, matrix(down))
        change.add_(delta.reshape(change.shape), alpha=strength * self.gamma)

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

    @property
    def gamma(self) -> float:
        """The factor of the product as trained: `scale` if there is one, else alpha/r."""
        return float(self.scale) if self.scale is not None else gamma(self.alpha, self.rank)

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha, scale=self.scale)
        up, down, mid = self.lora_up, self.lora_down, self.lora_mid
        if up.ndim < 2 or down.ndim < 2 or prod(up.shape[2:]) != 1:
            yield f"lora_up {tuple(up.shape)} and lora_down {tuple(down.shape)} are not (o, r) and (r, i, …)"
        elif mid is None and up.shape[1] != len(down):
            yield f"lora_up has rank {up.shape[1]}, lora_down has rank {len(down)}"
        elif mid is not None and prod(down.shape[2:]) != 1:
            yield f"lora_down {tuple(down.shape)} has a kernel although lora_mid holds it"
        elif mid is not None and mid.shape[:2] != (up.shape[1], len(down)):
            yield f"lora_mid {tuple(mid.shape)} does not join rank {up.shape[1]} of lora_up to {len(down)} of lora_down"
