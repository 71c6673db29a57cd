"""Folders as single files in the layout that Stable Diffusion 1 and XL were trained in: the inverse of a conversion.

Names as in CompVis/stable-diffusion, Stability-AI/generative-models and mlfoundations/open_clip.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lycoris.dialects.ldm import ldm_names

Tensors = Mapping[str, Tensor]
CODEC = {
    r"(en|de)coder\.mid_block\.resnets\.(\d)\.": lambda found: f"{found[1]}coder.mid.block_{int(found[2]) + 1}.",
    r"(en|de)coder\.mid_block\.attentions\.0\.": r"\1coder.mid.attn_1.",
    r"encoder\.down_blocks\.(\d)\.resnets\.(\d)\.": r"encoder.down.\1.block.\2.",
    r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.": r"encoder.down.\1.downsample.",
    r"conv_shortcut": "nin_shortcut",
    r"conv_norm_out": "norm_out",
    r"(attn_1\.)group_norm": r"\1norm",
    r"(attn_1\.)to_([qkv])": r"\1\2",
    r"(attn_1\.)to_out\.0": r"\1proj_out",
}
OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def stable_diffusion(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's UNet, VAE and CLIP under the names of Stable Diffusion 1."""
    clip = {f"text_model.{name}": tensor for name, tensor in _clip(folder / "text_encoder").items()}
    return _unet_and_codec(folder) | _under("cond_stage_model.transformer.", clip)


def stable_diffusion_xl(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's UNet, VAE and two CLIPs under the names of Stable Diffusion XL."""
    first = {f"text_model.{name}": tensor for name, tensor in _clip(folder / "text_encoder").items()}
    second = dict(_open_clip(_clip(folder / "text_encoder_2")))
    return (
        _unet_and_codec(folder)
        | _under("conditioner.embedders.0.transformer.", first)
        | _under("conditioner.embedders.1.model.", second)
    )


def weights(folder: Path) -> dict[str, Tensor]:
    """The tensors in a folder of one model."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def _under(start: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{start}{name}": tensor.contiguous() for name, tensor in tensors.items()}


def _unet_and_codec(folder: Path) -> dict[str, Tensor]:
    unet, codec = weights(folder / "unet"), dict(_codec(weights(folder / "vae")))
    names = {own: name for name, own in ldm_names({name.rpartition(".")[0] for name in unet})}
    renamed = {f"{names[own]}.{kind}": unet[f"{own}.{kind}"] for own, _, kind in (key.rpartition(".") for key in unet)}
    return _under("model.diffusion_model.", renamed) | _under("first_stage_model.", codec)


def _codec(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    last = max(int(found[1]) for name in tensors if (found := re.match(r"decoder\.up_blocks\.(\d)\.", name)))
    for name, tensor in tensors.items():
        for pattern, written in CODEC.items():
            name = re.sub(pattern, written, name)
        if found := re.match(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers)\.(\d)\.", name):
            place = f"block.{found[3]}" if found[2] == "resnets" else "upsample"
            name = f"decoder.up.{last - int(found[1])}.{place}.{name[found.end() :]}"
        yield name, tensor[:, :, None, None] if "attn_1." in name and tensor.ndim == 2 else tensor


def _clip(folder: Path) -> dict[str, Tensor]:
    return {name.removeprefix("text_model."): tensor for name, tensor in weights(folder).items()}


def _open_clip(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            yield "text_projection", tensor.T
        elif found := re.match(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", name):
            fused = [tensors[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            yield f"transformer.resblocks.{found[1]}.attn.in_proj_{found[2]}", torch.cat(fused)
        elif not re.search(r"self_attn\.[kv]_proj", name):
            for own, written in OPEN_CLIP.items():
                name = name.replace(own, written)
            yield name, tensor
