"""Control nets with random weights beside a base, of every class that is taken; what is zero at first is drawn too."""

import inspect
from types import SimpleNamespace
from typing import Any

from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from diffusers.models.controlnets.controlnet_qwenimage import QwenImageControlNetModel
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from torch import Tensor, nn

from tests.families.weights import fill

LOUD = 0.5  # of a net's weights, as a part of those that keep a signal's size
HINT = (8, 8, 8, 8)  # channels of the convolutions that a picture goes through, down to 1/8


def control_net(pipeline: Any, form: str = "", seed: int = 1) -> nn.Module:
    """A net for the denoiser of a pipeline; form: "union", "t2i", or what is usual for its family."""
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    net = _net(denoiser, form)
    return fill(SimpleNamespace(components={"net": net}), seed, LOUD) and net


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of a net as its file has them."""
    return {name: tensor.detach().contiguous() for name, tensor in net.state_dict().items()}


def _net(denoiser: Any, form: str) -> nn.Module:
    config: dict[str, Any] = {name: value for name, value in denoiser.config.items() if not name.startswith("_")}
    match type(denoiser).__name__, form:
        case "UNet2DConditionModel", "t2i":
            widths, xl = list(config["block_out_channels"]), config["down_block_types"][0] == "DownBlock2D"
            if not xl:
                return T2IAdapter(3, widths, 1, 8)
            # A level without attention adds what it is given behind its halving; the middle of SDXL takes one too
            return T2IAdapter(3, [*widths, *widths[2:]], 1, 16, "full_adapter_xl")
        case "UNet2DConditionModel", "union":
            plain = dict(ControlNetModel.from_unet(denoiser, conditioning_embedding_out_channels=HINT).config)
            said = {name: value for name, value in plain.items() if not name.startswith("_")}
            del said["mid_block_type"]
            width = config["block_out_channels"][0]
            shape = {"num_trans_channel": width, "num_proj_channel": width, "num_control_type": 6}
            return ControlNetUnionModel(**said | shape)
        case "UNet2DConditionModel", _:
            return ControlNetModel.from_unet(denoiser, conditioning_embedding_out_channels=HINT)
        case "FluxTransformer2DModel", _:
            known = {"num_mode": 10} if form == "union" else {}
            hint = {"conditioning_embedding_channels": 4, "patch_size": 2} if form == "hint" else {}
            return FluxControlNetModel(**_taken(FluxControlNetModel, config) | known | hint)
        case "SD3Transformer2DModel", "large":  # of 3.5 Large: it reads no text, and takes the base's positions
            plain = _taken(SD3ControlNetModel, config) | {"num_layers": 1, "qk_norm": None}
            own = {"joint_attention_dim": None, "use_pos_embed": False, "force_zeros_for_pooled_projection": False}
            return SD3ControlNetModel(**plain | own)
        case "SD3Transformer2DModel", _:
            return SD3ControlNetModel(**_taken(SD3ControlNetModel, config) | {"num_layers": 1, "qk_norm": None})
        case "QwenImageTransformer2DModel", _:
            return QwenImageControlNetModel(**_taken(QwenImageControlNetModel, config) | {"num_layers": 1})
        case "ZImageTransformer2DModel", version:  # the second reads a mask beside the picture
            plain = _taken(ZImageControlNetModel, config)
            plain |= {"control_layers_places": [0] if version else [0, 1], "control_refiner_layers_places": [0]}
            refining = {"": None, "2.0": "control_layers", "2.1": "control_noise_refiner"}[version]
            channels = config["in_channels"] + (5 if version else 0)
            return ZImageControlNetModel(**plain | {"control_in_dim": channels, "add_control_noise_refiner": refining})
        case name, _:
            raise NotImplementedError(name)


def _taken(made: Any, config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in inspect.signature(made.__init__).parameters if name in config}
