"""What a step computes with is estimated near what torch keeps for its backward pass."""

from math import prod
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from app.shared import activations
from app.shared.activations import activation_bytes
from app.shared.facts import BaseLayer
from lycoris import recompute, trainable_layers
from tests.app.shared.making import profile

EDGE = 16  # of the latents
FLUX: dict[str, Any] = {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4}
PARTS: dict[str, Any] = {
    "unet": lambda: UNet2DConditionModel(
        block_out_channels=(32, 64),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "transformer": lambda: FluxTransformer2DModel(
        **FLUX, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 6, 6), in_channels=16
    ),
}


def call(part: nn.Module) -> Tensor:
    if isinstance(part, UNet2DConditionModel):
        return part(torch.randn(1, 4, EDGE, EDGE), torch.tensor([5]), torch.randn(1, 16, 32), return_dict=False)[0]
    places = {"txt_ids": torch.zeros(16, 3), "img_ids": torch.zeros(EDGE**2 // 4, 3)}
    text = {"encoder_hidden_states": torch.randn(1, 16, 32), "pooled_projections": torch.randn(1, 32)}
    given = {"hidden_states": torch.randn(1, EDGE**2 // 4, 16), "timestep": torch.tensor([0.5])}
    return part(**given, **text, **places, return_dict=False)[0]


def kept(part: nn.Module, checkpointing: bool = False) -> int:
    """Bytes of what a forward keeps for its backward pass, weights left out, with those of the largest block anew."""
    weights = {one.untyped_storage().data_ptr() for one in part.parameters()}
    outside: dict[int, Tensor] = {}
    blocks: list[dict[int, Tensor]] = []
    inside = [outside]

    def keep(one: Tensor) -> Tensor:
        if (place := one.untyped_storage().data_ptr()) not in weights:
            inside[-1][place] = one
        return one

    def checkpoint(block: nn.Module, *given: Any) -> Any:
        for one in given:
            if isinstance(one, Tensor):
                keep(one)
        inside.append({})
        made = block(*given)
        blocks.append(inside.pop())
        return made

    if checkpointing:
        part.enable_gradient_checkpointing(checkpoint)  # type: ignore[operator]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        call(part.train())
    return _bytes(outside) + max(map(_bytes, blocks), default=0)


def _bytes(tensors: dict[int, Tensor]) -> int:
    return sum(one.untyped_storage().nbytes() for one in tensors.values())


@pytest.mark.parametrize("component", PARTS)
def test_it_is_estimated_within_a_factor_of_two(component: str) -> None:
    part = PARTS[component]()
    layers = [
        BaseLayer(component=one.component, path=one.path, kind=one.kind, shape=one.shape, bias=one.bias)
        for one in trainable_layers({component: part})
    ]
    known = profile(tokens={"text_encoder": 16}, size_multiple=8 if component == "unet" else 16)

    def estimate(checkpointing: bool = False, pictures: int = 1, trained: frozenset[str] = frozenset()) -> int:
        return activation_bytes(layers, trained, known, 8, (8 * EDGE) ** 2, pictures, checkpointing)

    assert 0.5 < estimate() / kept(part) < 2.0
    assert estimate(pictures=3) == 3 * estimate()
    whole = frozenset(f"{one.component}.{one.path}" for one in layers)
    changed = sum(prod(one.shape) for one in layers) * 4
    assert changed < estimate(trained=whole) - estimate() < 2 * changed


@pytest.mark.parametrize("component", PARTS)
def test_checkpointing_spares_a_large_base_most_of_it(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = PARTS[component]()
    layers = [
        BaseLayer(component=one.component, path=one.path, kind=one.kind, shape=one.shape, bias=one.bias)
        for one in trainable_layers({component: part})
    ]
    known = profile(tokens={"text_encoder": 16}, size_multiple=8 if component == "unet" else 16)

    def estimate(checkpointing: bool) -> int:
        return activation_bytes(layers, (), known, 8, (8 * EDGE) ** 2, 1, checkpointing)

    assert activations.SMALL == recompute.SMALL and estimate(True) == estimate(False)  # it is small
    monkeypatch.setattr(activations, "SMALL", 0)
    assert estimate(True) < estimate(False) / 2
    assert 0.5 < estimate(True) / kept(part, checkpointing=True) < 2.0
