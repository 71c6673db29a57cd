"""Control LoRAs with random weights, as FLUX.1's: a layer that reads the latents of a picture beside those it has."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.families.serving import LOUD, RANK

READER = "x_embedder"
NORMS = {"norm_q": "img_attn.norm.query_norm", "norm_added_k": "txt_attn.norm.key_norm"}  # as Black Forest Labs call it


def control_lora(transformer: Any, seed: int = 5) -> dict[str, Tensor]:
    """Factors and biases of every linear layer, the first with twice its inputs, under diffusers' names."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    found: dict[str, Tensor] = {}
    for name, layer in transformer.named_modules():
        if isinstance(layer, nn.Linear):
            inputs, loud = (2 * layer.in_features, 1.5) if name == READER else (layer.in_features, LOUD)
            found[f"transformer.{name}.lora_B.weight"] = loud * noise(layer.out_features, RANK)
            found[f"transformer.{name}.lora_B.bias"] = 0.1 * noise(layer.out_features)
            found[f"transformer.{name}.lora_A.weight"] = noise(RANK, inputs) / layer.in_features**0.5
    return found


def scales(transformer: Any, named_by_diffusers: bool = False) -> dict[str, Tensor]:
    """The new scales of norms that such a file has beside."""
    generator = torch.Generator().manual_seed(8)
    size = transformer.config.attention_head_dim
    return {
        f"transformer.transformer_blocks.0.attn.{name}.weight"
        if named_by_diffusers
        else f"double_blocks.0.{original}.scale": 1 + 0.3 * torch.randn(size, generator=generator)
        for name, original in NORMS.items()
    }
