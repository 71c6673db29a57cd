"""The names of a model's layers in kohya's and diffusers' files: from parameters to the name of a tensor.

diffusers' files have a name for each parameter. kohya's scripts use the names of the model's authors where these differ
from diffusers': LDM's names for SDXL (but not for SD 1 and 2), those of `dialects/original_names` for transformers. One
layer of the authors may have rows of several parameters of diffusers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from torch import Tensor

from lycoris.dialects.aliases import CLIP
from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.original import authors_names
from lycoris.dialects.row_slice import RowSlice
from lycoris.errors import Code, Reason, ToolRefused
from lycoris.placement.resolve import split_parameter
from lycoris.placement.shapes import Shapes
from lycoris.placement.views import Rows, view

Style = Literal["kohya", "diffusers"]
SECOND, THIRD = "text_encoder_2", "text_encoder_3"
KOHYA_PREFIXES = {"unet": "lora_unet", "transformer": "lora_unet", "prior": "lora_prior_unet"}
KOHYA_ENCODER_PREFIXES = {"text_encoder": "lora_te1", SECOND: "lora_te2", THIRD: "lora_te3"}
ONLY_ENCODER = "lora_te"
ONETRAINER = "lora_transformer"  # prefix of a transformer's layers under diffusers' names, flattened
PEFT_SUFFIXES = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}
CLIP_PATH, T5_PATH = "encoder.layers.0.self_attn.", "encoder.block.0."  # starts of paths in either text encoder
SDXL_PATH = "add_embedding.linear_1"  # and its refiner: their UNets also read sizes


@dataclass(frozen=True)
class FileLayer:
    """One weight or bias of a file in some style."""

    component: str
    name: str  # of the layer, as the file has it
    kind: str  # "weight" or "bias"
    rows: tuple[Rows, ...]  # concatenated along dim 0
    shape: tuple[int, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that it takes rows of, each once."""
        return tuple(dict.fromkeys(rows.parameter for rows in self.rows))


class Namer:
    """Names the layers of one model in one style."""

    def __init__(self, style: Style, components: Mapping[str, Shapes]) -> None:
        self.style: Style = style
        self._shapes = {
            component: {name: tuple(shape) for name, shape in shapes.items()}
            for component, shapes in components.items()
        }
        self._by_parameter = cache(self._layers_of)

    def layer(self, component: str, parameter: str) -> FileLayer:
        """Return the layer that a file of this style has for a parameter.

        Raises ToolRefused for a component that files of this style have no names for.
        """
        return self._by_parameter(component).get(parameter) or self._separate(
            component, parameter, self._start(component)
        )

    def separate(self, component: str, parameter: str) -> FileLayer:
        """Return a layer of this parameter alone, under diffusers' name: OneTrainer writes it, and ComfyUI reads it."""
        start = ONETRAINER if self.style == "kohya" and component == "transformer" else self._start(component)
        return self._separate(component, parameter, start)

    def named(self, layer: FileLayer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors, given by suffix as in lycoris/algorithms, under their names in the file."""
        suffixes = PEFT_SUFFIXES if self.style == "diffusers" else {}
        return {f"{layer.name}.{suffixes.get(suffix, suffix)}": tensor for suffix, tensor in tensors.items()}

    def _separate(self, component: str, parameter: str, start: str) -> FileLayer:
        module, kind = split_parameter(parameter)
        shape = self._shapes[component][parameter]
        return FileLayer(component, self._layer(start, component, module), kind, (Rows(parameter, 0, shape[0]),), shape)

    def _layers_of(self, component: str) -> dict[str, FileLayer]:
        """Return parameter -> layer, for those to which kohya's scripts give a different name than the model's path."""
        shapes, prefix = self._shapes[component], KOHYA_PREFIXES.get(component)
        return {
            parameter: layer
            for name, slices in (self._authors(component) if self.style == "kohya" else ())
            for kind in ("weight", "bias")
            if (of_kind := view(slices, kind, shapes))
            for layer in [FileLayer(component, f"{prefix}_{name.replace('.', '_')}", kind, of_kind.rows, of_kind.shape)]
            for parameter in layer.parameters
        }

    def _authors(self, component: str) -> Iterator[tuple[str, tuple[RowSlice, ...]]]:
        shapes = self._shapes[component]
        modules = {split_parameter(parameter)[0] for parameter in shapes}
        if component == "unet" and SDXL_PATH in modules:
            yield from ((name, (RowSlice(path),)) for name, path in ldm_names(modules))
        if component == "transformer":
            yield from authors_names(modules, shapes)

    def _layer(self, start: str, component: str, module: str) -> str:
        path = self._path(component, module)
        return f"{start}.{path}" if self.style == "diffusers" else f"{start}_{path.replace('.', '_')}"

    def _start(self, component: str) -> str:
        flat = self._flat(component)
        return component if self.style == "diffusers" else flat

    def _flat(self, component: str) -> str:
        if component == "text_encoder" and SECOND not in self._shapes:
            return ONLY_ENCODER
        if component == SECOND and THIRD not in self._shapes and self._begins(component, T5_PATH):
            return KOHYA_ENCODER_PREFIXES[THIRD]  # FLUX.1: kohya numbers T5 as in SD 3
        prefix = (KOHYA_PREFIXES | KOHYA_ENCODER_PREFIXES).get(component)
        if prefix is None:
            message = f"{self.style} has no names for layers of this component"
            raise ToolRefused([Reason(Code.NO_FORM, component, message)])
        return prefix

    def _path(self, component: str, module: str) -> str:
        # transformers 5.6 dropped a level of the path that every file has.
        return CLIP + module if component in KOHYA_ENCODER_PREFIXES and self._begins(component, CLIP_PATH) else module

    def _begins(self, component: str, start: str) -> bool:
        return any(name.startswith(start) for name in self._shapes[component])
