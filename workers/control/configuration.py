"""The configuration of a control net, which its file has not: derived from shapes and from the base.

What the shapes do not say is that of the base that the net was trained beside; a file for another base does not have
the shapes that follow, and is refused with their names. One setting can be read off neither and is as in diffusers:
`global_pool_conditions` is off (of the nets in use, only "shuffle" of SD 1.5 has it on).
"""

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from diffusers.models.controlnets.controlnet_qwenimage import QwenImageControlNetModel
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel

from app.shared.facts import BaseDenoiser

Shapes = Mapping[str, tuple[int, ...]]
Configuration = dict[str, Any]

MOST = 256  # blocks of one kind; a file that names more is of no class here
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


class NotForThis(ValueError):
    """A file is a control net, and not one for this base: the sentence says why."""


def unet(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a net that is a copy of a UNet's encoder."""
    config = _copied(ControlNetModel, base)
    kinds, layers = list(config["down_block_types"]), []
    own = config["transformer_layers_per_block"]
    for at, kind in enumerate(kinds):
        path = f"down_blocks.{at}.attentions."
        if kind in (CROSS, PLAIN):
            kinds[at] = CROSS if _any(shapes, path) else PLAIN
        layers.append(_count(shapes, f"{path}0.transformer_blocks.") if kinds[at] == CROSS else _of(own, at))
    if _any(shapes, "mid_block.attentions."):  # its layers are those of the last block
        layers[-1] = _count(shapes, "mid_block.attentions.0.transformer_blocks.")
        middle = "UNetMidBlock2DCrossAttn"
    else:
        middle = "UNetMidBlock2D"
    hint = _channels(shapes, "controlnet_cond_embedding", base)
    return config | {
        "down_block_types": kinds,
        "transformer_layers_per_block": layers,
        "mid_block_type": middle,
        "conditioning_embedding_out_channels": hint,
        "conditioning_channels": size(shapes, "controlnet_cond_embedding.conv_in.weight", 1, 3),
    }


def union(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a union beside a UNet."""
    if base.config.get("addition_time_embed_dim") is None:
        raise NotForThis("is a union of control nets for Stable Diffusion XL")
    hint = _channels(shapes, "controlnet_cond_embedding", base)
    width = size(shapes, "task_embedding", 1, 320)
    return _copied(ControlNetUnionModel, base) | {
        "conditioning_embedding_out_channels": hint,
        "num_control_type": size(shapes, "task_embedding", 0, 6),
        "num_trans_channel": width,
        "num_proj_channel": size(shapes, "spatial_ch_projs.weight", 0, width),
        "num_trans_layer": _count(shapes, "transformer_layes."),
    }


def flux(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a net beside a FLUX.1."""
    config = _copied(FluxControlNetModel, base)
    guided = _any(shapes, "time_text_embed.guidance_embedder.")
    if guided and not base.config.get("guidance_embeds"):
        raise NotForThis("reads a guidance, which this base has not: it is for FLUX.1 [dev]")
    hinted = size(shapes, "input_hint_block.conv_out.weight", 0, 0) or None
    if hinted:
        _channels(shapes, "input_hint_block", base)
    return config | {
        "num_layers": _count(shapes, "transformer_blocks."),
        "num_single_layers": _count(shapes, "single_transformer_blocks."),
        "guidance_embeds": guided,
        "num_mode": size(shapes, "controlnet_mode_embedder.weight", 0, 0) or None,
        "conditioning_embedding_channels": hinted,
        "patch_size": math.isqrt(config["in_channels"] // hinted) if hinted else config["patch_size"],
    }


def sd3(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a net beside a Stable Diffusion 3; without a text of its own it is 3.5 Large's."""
    config = _copied(SD3ControlNetModel, base)
    reads_text, positions = _any(shapes, "context_embedder."), shapes.get("pos_embed.pos_embed")
    _nothing_more(shapes, "pos_embed_input.proj.weight", config["in_channels"])
    layers = _count(shapes, "transformer_blocks.")
    return config | {
        "num_layers": layers,
        "joint_attention_dim": config["joint_attention_dim"] if reads_text else None,
        "force_zeros_for_pooled_projection": reads_text,
        "use_pos_embed": _any(shapes, "pos_embed.proj."),
        "pos_embed_max_size": math.isqrt(positions[1])
        if positions and len(positions) > 1
        else config["pos_embed_max_size"],
        "dual_attention_layers": [at for at in range(layers) if _any(shapes, f"transformer_blocks.{at}.attn2.")],
        "qk_norm": "rms_norm" if "transformer_blocks.0.attn.norm_q.weight" in shapes else None,
        "extra_conditioning_channels": 0,
    }


def qwen(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a net beside a Qwen-Image."""
    config = _copied(QwenImageControlNetModel, base)
    _nothing_more(shapes, "controlnet_x_embedder.weight", config["in_channels"])
    return config | {"num_layers": _count(shapes, "transformer_blocks."), "extra_condition_channels": 0}


def z_image(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a net beside a Z-Image, whose blocks are spread evenly over those of the base.

    Of the published ones, those of version 1 read the latents of a picture, and those of version 2 a mask as well,
    which is of zeros where nothing is painted over.
    """
    if base.config.get("siglip_feat_dim") is not None:
        raise NotForThis("is for Z-Image, and this base is a Z-Image-Omni")
    config = _copied(ZImageControlNetModel, base)
    layers, of = max(_count(shapes, "control_layers."), 1), int(base.config["n_layers"])
    if of % layers:
        raise NotForThis(f"has {layers} blocks, which cannot be spread evenly over the {of} of this base")
    patch, frames = config["all_patch_size"][0], config["all_f_patch_size"][0]
    values = patch * patch * frames  # of a channel in each place
    channels = size(shapes, f"control_all_x_embedder.{patch}-{frames}.weight", 1, 0) // values
    refining = "control_noise_refiner" if "control_noise_refiner.0.after_proj.weight" in shapes else "control_layers"
    first = channels <= base.config["in_channels"] and _any(shapes, "control_noise_refiner.")
    return config | {
        "control_layers_places": list(range(0, of, of // layers)),
        "control_in_dim": max(channels, base.config["in_channels"]),
        "control_refiner_layers_places": list(range(config["n_refiner_layers"])),
        "add_control_noise_refiner": None if first and refining == "control_layers" else refining,
    }


def t2i(shapes: Shapes, base: BaseDenoiser) -> Configuration:
    """Return the configuration of a T2I-Adapter, of the form whose features have the UNet's sizes."""
    light = "adapter.body.0.in_conv.weight" in shapes and "adapter.conv_in.weight" not in shapes
    end = "out_conv.weight" if light else "resnets.0.block1.weight"
    channels = [size(shapes, f"adapter.body.{at}.{end}", 0, 1) for at in range(_count(shapes, "adapter.body."))]
    read = size(shapes, "adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight", 1, 0)
    places = _places(base)
    for colours in (3, 1):
        edge = math.isqrt(read // colours)
        for form, scales in (
            ("light_adapter" if light else "full_adapter", [edge << at for at in range(len(channels))]),
            *([] if light else [("full_adapter_xl", [edge << (at > 1) for at in range(len(channels))])]),
        ):
            features = list(zip(channels, scales, strict=True))
            whole = len(features) >= len(places) - 1
            if colours * edge**2 == read and edge > 1 and whole and features == places[: len(features)]:
                return {
                    "in_channels": colours,
                    "channels": channels[:-1] if light else channels,
                    "num_res_blocks": _count(shapes, "adapter.body.0.resnets."),
                    "downscale_factor": edge,
                    "adapter_type": form,
                }
    said = ", ".join(f"{width} at 1/{scale}" for width, scale in places)
    raise NotForThis(f"has features of {channels} channels, and this base takes {said}")


def _places(base: BaseDenoiser) -> list[tuple[int, int]]:
    """Return channels, and pixels of an edge, of what a UNet takes at its levels, and at last in the middle."""
    widths, scale, found = base.config["block_out_channels"], base.pixels, []
    for at, (kind, width) in enumerate(zip(base.config["down_block_types"], widths, strict=True)):
        last = at == len(widths) - 1
        after = scale if last else scale * 2
        found.append((width, scale if "CrossAttn" in kind else after))
        scale = after
    return [*found, (widths[-1], scale)]


def _copied(made: type[Any], base: BaseDenoiser) -> Configuration:
    """Return what the base's configuration says of the settings that a net has too."""
    settings = inspect.signature(made.__init__).parameters
    found = {name: base.config[name] for name in settings if name in base.config}
    # Beside a UNet it reads latents, whatever else a base for inpainting reads: as many channels as that puts out
    return found | {"in_channels": base.config["out_channels"]} if base.made == "UNet2DConditionModel" else found


def _any(shapes: Shapes, beginning: str) -> bool:
    return any(name.startswith(beginning) for name in shapes)


def _count(shapes: Shapes, path: str) -> int:
    """Return how many blocks follow a path, numbered from 0, of names in a file."""
    found = {match[1] for name in shapes if (match := re.match(rf"{re.escape(path)}(\d{{1,4}})\.", name))}
    return min(len(found), MOST)


def size(shapes: Shapes, name: str, axis: int, default: int) -> int:
    """Return the size of a tensor along an axis; the default where there is no such tensor, or no such axis."""
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else default


def _channels(shapes: Shapes, path: str, base: BaseDenoiser) -> list[int]:
    """Return the channels of the convolutions that a picture goes through before it is added to the latents.

    Raises NotForThis where they make another number of places of a picture than the base has latents.
    """
    blocks = [f"{path}.blocks.{at}.weight" for at in range(1, 2 * MOST, 2)]
    wider = [size(shapes, name, 0, 0) for name in blocks if name in shapes]
    pixels = 2 ** len(wider)
    if pixels != base.pixels and f"{path}.conv_in.weight" in shapes:
        message = f"reads {pixels} × {pixels} pixels for each latent, and this base has {base.pixels} × {base.pixels}"
        raise NotForThis(message)
    return [size(shapes, f"{path}.conv_in.weight", 0, 16), *wider]


def _of(value: Any, at: int) -> int:
    return value[at] if isinstance(value, list | tuple) else value


def _nothing_more(shapes: Shapes, name: str, channels: int) -> None:
    """Refuse a net that reads a mask beside the picture."""
    if size(shapes, name, 1, channels) > channels:
        raise NotForThis("is a net for inpainting, which reads a mask beside the picture; such nets are not taken yet")
