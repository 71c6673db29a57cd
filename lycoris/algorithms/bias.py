"""The bias that PEFT trains together with a LoRA (`lora_bias`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import Change
from lycoris.algorithms.lora import LoRA


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoRABias(Change):
    """b₀ + s·γ·bias, where γ is that of the layer's LoRA (PEFT `lora_bias=True`: the bias of `lora_B`)."""

    bias: Tensor  # (o,)
    lora: LoRA

    SUFFIXES: ClassVar = {"lora_B.bias": "bias"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.bias.to(change), alpha=strength * self.lora.gamma)

    @property
    def name(self) -> str:
        return self.lora.name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bias.shape)

    def problems(self) -> Iterator[str]:
        if self.bias.ndim != 1:
            yield f"lora_B.bias must be a vector and is of shape {tuple(self.bias.shape)}"
