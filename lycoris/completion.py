"""What a layer's tensors lack and the rest of the file has: PEFT's scales and settings, VeRA's shared matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.algorithms.change import SCALARS
from lycoris.algorithms.lora import LoRA
from lycoris.dialects.adapter_config import AdapterConfig
from lycoris.dialects.peft_config import PeftConfig

SHARED = frozenset({"vera_A", "vera_B"})  # of the whole file: PEFT writes them beside the layers, not in one
VERA = frozenset({"vera_lambda_b", "vera_lambda_d"})
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Completion:
    """The rest of one file."""

    scales: Mapping[str, PeftConfig]  # component -> how its LoRA is scaled, from diffusers' metadata
    config: AdapterConfig | None  # from adapter_config.json
    shared: Parts

    def of(self, parts: Parts, components: Sequence[str], module: str) -> Parts:
        """Return a layer's tensors, by suffix, and what the rest of the file adds to them.

        A scale among the tensors wins over one beside them. Raises FileRefused if the configuration does not fit.
        """
        if VERA & parts.keys():
            parts = parts | self.shared
        # What is known of the layer, and not what PEFT calls its factors: `lora_A` is `lora_down.weight` here.
        down = parts.get("lora_down.weight")
        rank = len(down) if down is not None and down.ndim else 1
        if self.config is not None:
            added = self.config.settings(module, parts.keys(), rank)
            return {name: _scalar(number) for name, number in added.items()} | parts
        scale = self.scales.get(components[0] if components else "unet")
        if scale is None or SCALARS & parts.keys() or not LoRA.SIGNS & parts.keys():
            return parts
        return parts | {"alpha": _scalar(scale.alpha_of(module, rank))}


def _scalar(number: float | int) -> Tensor:
    return torch.tensor(number, dtype=torch.int64 if isinstance(number, int) else torch.float64)
