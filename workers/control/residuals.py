"""What control nets add to a denoiser: called as diffusers' pipelines call them, summed, and handed to its forward.

Everything that a net is called with beside its picture is what the denoiser itself was called with.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from torch import Tensor

Call = Mapping[str, Any]  # arguments of the denoiser's forward, by name
# Argument of the denoiser's forward -> what is added, place by place; with ".3" behind it, at that place alone
Residuals = dict[str, list[Tensor]]

DOWN, MID, FEATURES = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)
BLOCKS, SINGLE, SD3_BLOCKS = (
    "controlnet_block_samples",
    "controlnet_single_block_samples",
    "block_controlnet_hidden_states",
)


def of_unet(net: Any, _: Any, call: Call, condition: Any, scale: float, mode: int | None) -> Residuals:
    """Return what a ControlNet, a union of them or a T2I-Adapter adds to a UNet."""
    if isinstance(net, T2IAdapter):
        return {FEATURES: [feature * scale for feature in condition]}
    given: dict[str, Any] = {"controlnet_cond": condition}
    settings = net.config
    if isinstance(net, ControlNetUnionModel):
        assert mode is not None
        chosen = torch.zeros(len(condition), settings.num_control_type).index_fill_(1, torch.tensor([mode]), 1)
        given = {
            "controlnet_cond": [condition],
            "control_type": chosen.to(condition),
            "control_type_idx": [mode],
        }
    down, middle = net(
        call["sample"],
        call["timestep"],
        encoder_hidden_states=call["encoder_hidden_states"],
        added_cond_kwargs=call.get("added_cond_kwargs"),
        conditioning_scale=float(scale),
        return_dict=False,
        **given,
    )
    return {DOWN: list(down), MID: [middle]}


def of_flux(net: Any, denoiser: Any, call: Call, condition: Any, scale: float, mode: int | None) -> Residuals:
    """Return what a net adds to a FLUX.1, for every block of it."""
    rows = len(call["hidden_states"])
    blocks, single = net(
        hidden_states=call["hidden_states"],
        controlnet_cond=condition,
        controlnet_mode=None if mode is None else torch.full((rows, 1), mode, device=condition.device),
        conditioning_scale=scale,
        timestep=call["timestep"],
        guidance=call.get("guidance") if net.config.guidance_embeds else None,
        pooled_projections=call["pooled_projections"],
        encoder_hidden_states=call["encoder_hidden_states"],
        txt_ids=call["txt_ids"],
        img_ids=call["img_ids"],
        return_dict=False,
    )
    repeated = net.input_hint_block is not None  # XLabs' nets
    found = {BLOCKS: _spread(blocks, len(denoiser.transformer_blocks), math.ceil, repeated)}
    found[SINGLE] = _spread(single, len(denoiser.single_transformer_blocks), math.ceil)
    return {argument: added for argument, added in found.items() if added}


def of_sd3(net: Any, denoiser: Any, call: Call, condition: Any, scale: float, _: int | None) -> Residuals:
    """Return what a net adds to a Stable Diffusion 3, for every block of it."""
    pooled = call["pooled_projections"]
    (blocks,) = net(
        hidden_states=call["hidden_states"],
        timestep=call["timestep"],
        encoder_hidden_states=None if net.context_embedder is None else call["encoder_hidden_states"],
        pooled_projections=torch.zeros_like(pooled) if net.config.force_zeros_for_pooled_projection else pooled,
        controlnet_cond=condition,
        conditioning_scale=scale,
        return_dict=False,
    )
    return {SD3_BLOCKS: _spread(blocks, len(denoiser.transformer_blocks), float)}


def of_qwen(net: Any, denoiser: Any, call: Call, condition: Any, scale: float, _: int | None) -> Residuals:
    """Return what a net adds to a Qwen-Image, for every block of it."""
    blocks = net(
        hidden_states=call["hidden_states"],
        controlnet_cond=condition,
        conditioning_scale=scale,
        timestep=call["timestep"],
        encoder_hidden_states=call["encoder_hidden_states"],
        encoder_hidden_states_mask=call.get("encoder_hidden_states_mask"),
        img_shapes=call["img_shapes"],
        return_dict=False,
    )
    return {BLOCKS: _spread(blocks, len(denoiser.transformer_blocks), math.ceil)}


def of_z_image(net: Any, _denoiser: Any, call: Call, condition: Any, scale: float, _: int | None) -> Residuals:
    """Return what a net adds to a Z-Image, for those of its blocks that the net has one for."""
    sizes = {name: call[name] for name in ("patch_size", "f_patch_size") if name in call}
    blocks = net(call["x"], call["t"], call["cap_feats"], condition, conditioning_scale=scale, **sizes)
    return {f"{BLOCKS}.{at}": [added] for at, added in blocks.items()}


class Adding(NamedTuple):
    """How nets add to a class of denoisers: what computes it, and arguments of its forward, of latents and of time."""

    residuals: Callable[..., Residuals]
    latents: str
    timestep: str = "timestep"


ADDED: Mapping[str, Adding] = {  # by class of the denoiser
    "UNet2DConditionModel": Adding(of_unet, "sample"),
    "FluxTransformer2DModel": Adding(of_flux, "hidden_states"),
    "SD3Transformer2DModel": Adding(of_sd3, "hidden_states"),
    "QwenImageTransformer2DModel": Adding(of_qwen, "hidden_states"),
    "ZImageTransformer2DModel": Adding(of_z_image, "x", "t"),
}


def summed(parts: Sequence[Residuals]) -> Residuals:
    """Return the sum of what several nets add, in their order, in float32."""
    found: Residuals = {}
    for argument in dict.fromkeys(name for part in parts for name in part):
        rows = [part[argument] for part in parts if argument in part]
        found[argument] = [_sum(tensors) for tensors in zip(*rows, strict=True)] if rows[1:] else rows[0]
    return found


def arguments(residuals: Residuals) -> dict[str, Any]:
    """Return the arguments of a denoiser's forward that stand for these residuals; lists that it may empty."""
    found: dict[str, Any] = {}
    for argument, added in residuals.items():
        whole, dot, place = argument.partition(".")
        if dot:
            found.setdefault(whole, {})[int(place)] = added[0]
            continue
        found[argument] = added[0] if argument == MID else tuple(added) if argument == DOWN else list(added)
    if FEATURES in found:  # a UNet adds to those that it is given
        found[FEATURES] = [feature.clone() for feature in found[FEATURES]]
    return found


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].float()
    for tensor in tensors[1:]:
        total = total + tensor.float()
    return total.to(tensors[0].dtype)


def _spread(
    blocks: Sequence[Tensor] | None, places: int, whole: Callable[[float], float], repeated: bool = False
) -> list[Tensor]:
    """Return what is added at each place of a denoiser, of which a net has fewer; as the denoiser itself would."""
    if not blocks:
        return []
    each = whole(places / len(blocks))
    return [blocks[at % len(blocks) if repeated else int(at / each)] for at in range(places)]
