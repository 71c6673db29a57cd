"""A control net in a file is judged as every adapter is: each tensor has its place, or is refused by name."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from safetensors.torch import save
from torch import Tensor

from app.shared.facts import BaseDenoiser
from lycoris import AdapterError, FileRefused, NoPlace, checked
from tests.families.controls import control_net, tensors
from tests.families.stable_diffusion import unet
from workers.control.file import SHARES, ControlFile
from workers.models.components import made_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
XL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 56,
    "transformer_layers_per_block": (1, 2),
}


def base_of(pipeline: Any) -> BaseDenoiser:
    """What a worker writes down of a base."""
    made = made_of(pipeline, {name: part for name, part in vars(pipeline).items() if name in ("unet", "transformer")})
    assert made
    return BaseDenoiser(fingerprint="f", **made)


def pipeline(**parts: Any) -> Any:
    """A pipeline as far as it is read here."""
    return SimpleNamespace(vae_scale_factor=8, **parts)


def verdict(held: dict[str, Tensor], base: BaseDenoiser, *ignore: str) -> dict[str, Any]:
    """The verdict on a file with these tensors."""
    file = checked(save(held))
    assert ControlFile.holds(file)
    return ControlFile(file, ignore).verdict(base)


def refused(held: dict[str, Tensor], base: BaseDenoiser, *ignore: str) -> AdapterError:
    """Why a file with these tensors is refused."""
    with pytest.raises(AdapterError) as caught:
        verdict(held, base, *ignore)
    return caught.value


@pytest.mark.parametrize("form", ["", "t2i", "union"])
def test_a_net_of_a_base_has_its_place_there_and_beside_no_other(form: str) -> None:
    small, xl = pipeline(unet=unet()), pipeline(unet=unet(**XL))
    net = control_net(xl if form == "union" else small, form)
    fits, other = (xl, small) if form == "union" else (small, pipeline(unet=unet(block_out_channels=(16, 16))))
    found = verdict(tensors(net), base_of(fits))
    assert (found["kind"], found["net"], found["components"]) == ("control", type(net).__name__, {})
    modes = ["pose", "depth", "soft_edge", "canny", "normal", "segmentation"]
    assert found["modes"] == (modes if form == "union" else [])
    assert isinstance(refused(tensors(net), base_of(other)), NoPlace)
    transformer = pipeline(transformer=SimpleNamespace(config={"in_channels": 4}))
    assert "and this base is a SimpleNamespace" in str(refused(tensors(net), base_of(transformer)))


@pytest.mark.parametrize("version", ["", "2.0", "2.1"])
def test_a_net_of_z_image_is_told_by_its_shapes_and_says_that_it_shares_layers(version: str) -> None:
    base = base_of(pipeline(transformer=z_image()))
    net: Any = control_net(pipeline(transformer=z_image()), version)
    assert verdict(tensors(net), base)["warnings"] == [SHARES]
    config = ControlFile(checked(save(tensors(net)))).configured(base)[2]
    assert {
        name: config[name] for name in ("control_layers_places", "control_in_dim", "add_control_noise_refiner")
    } == {name: net.config[name] for name in ("control_layers_places", "control_in_dim", "add_control_noise_refiner")}
    omni = base_of(pipeline(transformer=z_image(siglip_feat_dim=8)))
    assert "this base is a Z-Image-Omni" in str(refused(tensors(net), omni))
    assert "cannot be spread" in str(refused(tensors(net) | {"control_layers.2.x": torch.zeros(1)}, deeper(base)))


def test_what_a_z_image_net_of_version_2_0_does_not_use_is_named_and_can_be_left_out() -> None:
    base = base_of(pipeline(transformer=z_image()))
    held = tensors(control_net(pipeline(transformer=z_image()), "2.1"))
    held["control_noise_refiner.0.before_proj.weight"].zero_()
    unused = [name for name in held if name.startswith("control_noise_refiner.")]
    assert [one.subject for one in refused(held, base).reasons] == sorted(unused)
    assert verdict(held, base, "control_noise_refiner.*")["ignored"] == tuple(sorted(unused))


def z_image(**changed: Any) -> ZImageTransformer2DModel:
    """A Z-Image's transformer of two blocks."""
    plain: dict[str, Any] = {"in_channels": 4, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2}
    plain |= {"n_kv_heads": 2, "cap_feat_dim": 16, "axes_dims": [8, 4, 4], "axes_lens": [64, 64, 64]}
    return ZImageTransformer2DModel(**plain | changed)


def deeper(base: BaseDenoiser) -> BaseDenoiser:
    """A base of seven blocks."""
    return base.model_copy(update={"config": base.config | {"n_layers": 7}})


def test_everything_that_is_wrong_is_named_at_once() -> None:
    here = pipeline(unet=unet())
    held = tensors(control_net(here))
    missing, wrong, odd, whole = sorted(name for name in held if name.startswith("down_blocks.1.resnets"))[:4]
    del held[missing]
    held |= {wrong: torch.zeros(3), odd: torch.full_like(held[odd], torch.nan), whole: held[whole].long()}
    error = refused(held | {"surplus.weight": torch.zeros(1)}, base_of(here))
    assert isinstance(error, FileRefused)
    assert {(str(one.code), one.subject) for one in error.reasons} == {
        ("incomplete", missing),
        ("misfit", wrong),
        ("not_finite", odd),
        ("bad_dtype", whole),
        ("unknown_tensor", "surplus.weight"),
    }
    assert "missing" in str(refused({"controlnet_mid_block.weight": torch.zeros(1)}, base_of(here)))


def test_a_tensor_that_is_left_out_is_in_the_verdict() -> None:
    here = pipeline(unet=unet())
    held = tensors(control_net(here)) | {"surplus.weight": torch.zeros(1)}
    assert verdict(held, base_of(here), "surplus.*")["ignored"] == ("surplus.weight",)


def test_a_net_in_the_original_layout_is_read_by_diffusers_names() -> None:
    here = pipeline(unet=unet())
    held = {f"control_model.{original(name)}": tensor for name, tensor in tensors(control_net(here)).items()}
    assert verdict(held, base_of(here))["net"] == "ControlNetModel"
    odd = "control_model.input_blocks.0.1.weight"
    assert [one.subject for one in refused(held | {odd: torch.zeros(1)}, base_of(here)).reasons] == [odd]


def test_what_a_net_cannot_do_here_is_said() -> None:
    here = pipeline(unet=unet())
    coarse = {"controlnet_cond_embedding.blocks.7.weight": torch.zeros(8, 8, 3, 3)}
    said = {
        "reads 16 × 16 pixels for each latent": tensors(control_net(here)) | coarse,
        "control LoRA": {"lora_controlnet": torch.zeros(1), "input_hint_block.0.weight": torch.zeros(1)},
    }
    for words, held in said.items():
        assert words in str(refused(held, base_of(here)))
    assert "is a union of control nets for Stable Diffusion XL" in str(
        refused(tensors(control_net(pipeline(unet=unet(**XL)), "union")), base_of(here))
    )


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
LAYERS = 1  # in each level of the UNet here
# Beginning of a name -> what it is in the original layout, and whether a layer of a resnet follows
RENAMED: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"time_embedding\.linear_(\d)", lambda found: f"time_embed.{2 * int(found[1]) - 2}"),
    (r"conv_in", lambda _: "input_blocks.0.0"),
    (r"controlnet_cond_embedding\.conv_in", lambda _: "input_hint_block.0"),
    (r"controlnet_cond_embedding\.conv_out", lambda _: "input_hint_block.14"),
    (r"controlnet_cond_embedding\.blocks\.(\d)", lambda found: f"input_hint_block.{2 * int(found[1]) + 2}"),
    (r"controlnet_down_blocks\.(\d)", lambda found: f"zero_convs.{found[1]}.0"),
    (r"controlnet_mid_block", lambda _: "middle_block_out.0"),
    (r"down_blocks\.(\d)\.resnets\.(\d)\.(\w+)", lambda found: f"{_block(found)}.0.{RESNET[found[3]]}"),
    (r"down_blocks\.(\d)\.attentions\.(\d)", lambda found: f"{_block(found)}.1"),
    (r"down_blocks\.(\d)\.downsamplers\.(0)\.conv", lambda found: f"{_block(found, LAYERS)}.0.op"),
    (r"mid_block\.resnets\.(\d)\.(\w+)", lambda found: f"middle_block.{2 * int(found[1])}.{RESNET[found[2]]}"),
    (r"mid_block\.attentions\.0", lambda _: "middle_block.1"),
)


def _block(found: re.Match[str], layer: int | None = None) -> str:
    return f"input_blocks.{1 + int(found[1]) * (LAYERS + 1) + (int(found[2]) if layer is None else layer)}"


def original(name: str) -> str:
    """The name of a ControlNet's tensor in its first layout."""
    for beginning, renamed in RENAMED:
        if match := re.match(beginning + r"(?=\.(weight|bias)$|\.(norm|proj_|transformer_blocks))", name):
            return renamed(match) + name[match.end() :]
    raise KeyError(name)
