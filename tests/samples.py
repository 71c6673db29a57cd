"""Small adapter files for the bundled model, written with safetensors alone: nothing of ours helps to make them."""

from collections.abc import Callable

import torch
from safetensors.torch import save
from torch import Tensor

ATTENTION = ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", 160, 160)
CONV = ("lora_unet_up_blocks_1_resnets_1_conv2", 128, 128)
TEXT = ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 128, 128)
RANK = 4
SCALE = 0.3  # large enough to be seen in a picture of four steps


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator) * SCALE


def _lora(g: torch.Generator, layer: tuple[str, int, int]) -> dict[str, Tensor]:
    name, out, into = layer
    return {
        f"{name}.lora_up.weight": _random(g, out, RANK),
        f"{name}.lora_down.weight": _random(g, RANK, into),
        f"{name}.alpha": torch.tensor(2.0),
    }


def _locon(g: torch.Generator, layer: tuple[str, int, int]) -> dict[str, Tensor]:
    name, out, into = layer
    return {
        f"{name}.lora_up.weight": _random(g, out, RANK, 1, 1),
        f"{name}.lora_down.weight": _random(g, RANK, into, 3, 3),
        f"{name}.alpha": torch.tensor(2.0),
    }


def _loha(g: torch.Generator, layer: tuple[str, int, int]) -> dict[str, Tensor]:
    name, out, into = layer
    return {
        f"{name}.hada_w1_a": _random(g, out, RANK),
        f"{name}.hada_w1_b": _random(g, RANK, into * 9),
        f"{name}.hada_w2_a": _random(g, out, RANK),
        f"{name}.hada_w2_b": _random(g, RANK, into * 9),
        f"{name}.alpha": torch.tensor(2.0),
    }


def _lokr(g: torch.Generator, layer: tuple[str, int, int]) -> dict[str, Tensor]:
    name, out, into = layer
    return {
        f"{name}.lokr_w1": _random(g, 8, 8),
        f"{name}.lokr_w2_a": _random(g, out // 8, RANK),
        f"{name}.lokr_w2_b": _random(g, RANK, into // 8 * 9),
        f"{name}.alpha": torch.tensor(2.0),
    }


KINDS: dict[str, Callable[[torch.Generator], dict[str, Tensor]]] = {
    "lora": lambda g: _lora(g, ATTENTION) | _lora(g, TEXT),
    "locon": lambda g: _locon(g, CONV),
    "loha": lambda g: _loha(g, CONV),
    "lokr": lambda g: _lokr(g, CONV),
}


def tensors(kind: str, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of an adapter of this kind; another seed makes another one."""
    return KINDS[kind](torch.Generator().manual_seed(seed))


def file(kind: str, seed: int = 0) -> bytes:
    """A safetensors file of this kind."""
    return save(tensors(kind, seed), metadata={"ss_network_module": f"test.{kind}"})
