"""The classes of control nets that files hold, and how each is told."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from diffusers.models.controlnets.controlnet_qwenimage import QwenImageControlNetModel
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel

from app.shared.facts import BaseDenoiser
from workers.control.configuration import Configuration, Shapes, flux, qwen, sd3, size, t2i, unet, union, z_image

# What the numbers of a union's modes mean: of the SDXL unions with 6 and 8 modes, and of FLUX.1's
SDXL_MODES = ("pose", "depth", "soft_edge", "canny", "normal", "segmentation", "tile", "repaint")
FLUX_MODES = ("canny", "tile", "depth", "blur", "pose", "gray", "low_quality")


@dataclass(frozen=True)
class NetClass:
    """One class of control nets.

    made: of diffusers. told_by: tensors of which a file of this class has one set, and no adapter of another kind has.
    denoisers: class of the base's denoiser, by name -> the net's configuration beside it; it raises NotForThis.
    modes: what the modes of a union mean, by number, and the tensor that has a row for each. shares: whether it
    computes with layers of its base, by `from_transformer`, and so changes with them.
    """

    made: type[Any]
    told_by: tuple[frozenset[str], ...]
    denoisers: Mapping[str, Callable[[Shapes, BaseDenoiser], Configuration]]
    modes: tuple[str, ...] = ()
    counted: str = ""
    shares: bool = False

    def modes_of(self, shapes: Shapes) -> tuple[str, ...]:
        """Return the modes of a file by number, as far as their meaning is known; none of one that is no union."""
        return self.modes[: size(shapes, self.counted, 0, 0)]


def _any_of(*names: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset((name,)) for name in names)


UNET = "UNet2DConditionModel"
CLASSES: tuple[NetClass, ...] = (  # the first that a file is told by
    NetClass(
        ControlNetUnionModel,
        _any_of("task_embedding", "control_add_embedding.linear_1.weight"),
        {UNET: union},
        SDXL_MODES,
        "task_embedding",
    ),
    NetClass(
        ControlNetModel,
        _any_of("controlnet_cond_embedding.conv_in.weight", "controlnet_mid_block.weight"),
        {UNET: unet},
    ),
    NetClass(
        SD3ControlNetModel,
        _any_of("pos_embed_input.proj.weight"),
        {"SD3Transformer2DModel": sd3},
    ),
    NetClass(
        QwenImageControlNetModel,
        (frozenset(("txt_norm.weight", "controlnet_x_embedder.weight")),),
        {"QwenImageTransformer2DModel": qwen},
    ),
    NetClass(
        FluxControlNetModel,
        _any_of("controlnet_x_embedder.weight"),
        {"FluxTransformer2DModel": flux},
        FLUX_MODES,
        "controlnet_mode_embedder.weight",
    ),
    NetClass(
        ZImageControlNetModel,
        _any_of("control_layers.0.before_proj.weight"),
        {"ZImageTransformer2DModel": z_image},
        shares=True,
    ),
    NetClass(T2IAdapter, _any_of("adapter.conv_in.weight", "adapter.body.0.in_conv.weight"), {UNET: t2i}),
)

DENOISERS = frozenset(name for one in CLASSES for name in one.denoisers)  # for which there are control nets


def class_of(tensors: Iterable[str]) -> NetClass | None:
    """Return the class of control nets that a file with tensors of these names is of; None for another adapter."""
    found = frozenset(tensors)
    return next((one for one in CLASSES if any(names <= found for names in one.told_by)), None)
