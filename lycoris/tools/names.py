"""How kohya and diffusers name a layer of a model: the way back from a parameter to a tensor's name in a file."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from lycoris.dialects.spellings import CLIP
from lycoris.errors import Code, Reason, ToolRefused
from lycoris.targets import PARAMETERS, Shapes

Style = Literal["kohya", "diffusers"]
SECOND, THIRD = "text_encoder_2", "text_encoder_3"
FLAT = {"unet": "lora_unet", "transformer": "lora_transformer", "prior": "lora_prior_unet"}
FLAT_ENCODERS = {"text_encoder": "lora_te1", SECOND: "lora_te2", THIRD: "lora_te3"}
ONLY_ENCODER = "lora_te"
PEFT = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}
OF_CLIP, OF_T5 = "encoder.layers.0.self_attn.", "encoder.block.0."  # how the paths of either encoder begin


class Namer:
    """Names the layers of one model in one style."""

    def __init__(self, style: Style, components: Mapping[str, Shapes]) -> None:
        self._style = style
        self._components = components

    def named(self, component: str, module: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a layer's tensors, given by suffix as in lycoris/algorithms, under the names that a file gives them.

        Raises ToolRefused for a part of a model that no file of this style speaks of.
        """
        if self._style == "diffusers":
            start = f"{component}.{self._path(component, module)}"
            self._prefix(component)
            return {f"{start}.{PEFT.get(suffix, suffix)}": tensor for suffix, tensor in tensors.items()}
        start = f"{self._prefix(component)}_{self._path(component, module).replace('.', '_')}"
        return {f"{start}.{suffix}": tensor for suffix, tensor in tensors.items()}

    def _prefix(self, component: str) -> str:
        if component == "text_encoder" and SECOND not in self._components:
            return ONLY_ENCODER
        if component == SECOND and THIRD not in self._components and self._begins(component, OF_T5):
            return FLAT_ENCODERS[THIRD]  # FLUX.1: kohya numbers T5 as in SD 3
        prefix = (FLAT | FLAT_ENCODERS).get(component)
        if prefix is None:
            message = f"{self._style} has no name for layers of this part of a model"
            raise ToolRefused([Reason(Code.NO_FORM, component, message)])
        return prefix

    def _path(self, component: str, module: str) -> str:
        # transformers 5.6 dropped a level that every file has.
        return CLIP + module if component in FLAT_ENCODERS and self._begins(component, OF_CLIP) else module

    def _begins(self, component: str, start: str) -> bool:
        return any(name.startswith(start) for name in self._components[component])


def module_of(parameter: str) -> tuple[str, str]:
    """Return (module, "weight" or "bias") of a parameter; one that hangs on no layer of its own is its own weight."""
    ending = next((ending for ending in PARAMETERS if parameter.endswith(ending)), "")
    return parameter.removesuffix(ending), ending.removeprefix(".") or "weight"
