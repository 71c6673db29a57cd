"""How kohya and diffusers name the layers of a model: the way back from parameters to a tensor's name in a file.

diffusers' files have a name for each parameter. kohya's scripts speak as the model's first authors did, where that is
not as diffusers does: LDM's names for SDXL (but not for SD 1 and 2), those of `dialects/schemes` for transformers. What
the authors had as one layer is one layer there, whose rows are rows of several parameters here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from torch import Tensor

from lycoris.dialects.aliases import CLIP
from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.original import authors_names
from lycoris.dialects.row_slice import Part
from lycoris.errors import Code, Reason, ToolRefused
from lycoris.placement.resolve import module_of
from lycoris.placement.shapes import Shapes
from lycoris.placement.views import Rows, view

Style = Literal["kohya", "diffusers"]
SECOND, THIRD = "text_encoder_2", "text_encoder_3"
FLAT = {"unet": "lora_unet", "transformer": "lora_unet", "prior": "lora_prior_unet"}
FLAT_ENCODERS = {"text_encoder": "lora_te1", SECOND: "lora_te2", THIRD: "lora_te3"}
ONLY_ENCODER = "lora_te"
ONETRAINER = "lora_transformer"  # a transformer's layers under diffusers' names, flattened
PEFT = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}
OF_CLIP, OF_T5 = "encoder.layers.0.self_attn.", "encoder.block.0."  # how the paths of either encoder begin
OF_SDXL = "add_embedding.linear_1"  # and of its refiner: their UNets also read sizes


@dataclass(frozen=True)
class Unit:
    """One weight or bias as a file of some style sees it."""

    component: str
    name: str  # of the layer, as the file has it
    kind: str  # "weight" or "bias"
    rows: tuple[Rows, ...]  # one below the other
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
        self._units = cache(self._units_of)

    def unit(self, component: str, parameter: str) -> Unit:
        """Return what a file of this style has in place of a parameter.

        Raises ToolRefused for a part of a model that no file of this style speaks of.
        """
        return self._units(component).get(parameter) or self._alone(component, parameter, self._start(component))

    def alone(self, component: str, parameter: str) -> Unit:
        """Return the parameter by itself, under diffusers' name: what OneTrainer writes, and ComfyUI reads too."""
        start = ONETRAINER if self.style == "kohya" and component == "transformer" else self._start(component)
        return self._alone(component, parameter, start)

    def named(self, unit: Unit, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors, given by suffix as in lycoris/algorithms, under the names that a file gives them."""
        suffixes = PEFT if self.style == "diffusers" else {}
        return {f"{unit.name}.{suffixes.get(suffix, suffix)}": tensor for suffix, tensor in tensors.items()}

    def _alone(self, component: str, parameter: str, start: str) -> Unit:
        module, kind = module_of(parameter)
        shape = self._shapes[component][parameter]
        return Unit(component, self._layer(start, component, module), kind, (Rows(parameter, 0, shape[0]),), shape)

    def _units_of(self, component: str) -> dict[str, Unit]:
        """Return parameter -> unit, for those that kohya's scripts call otherwise than by their own path."""
        shapes = self._shapes[component]
        return {
            parameter: unit
            for name, parts in (self._authors(component) if self.style == "kohya" else ())
            for kind in ("weight", "bias")
            if (seen := view(parts, kind, shapes))
            for unit in [Unit(component, f"{FLAT[component]}_{name.replace('.', '_')}", kind, seen.rows, seen.shape)]
            for parameter in unit.parameters
        }

    def _authors(self, component: str) -> Iterator[tuple[str, tuple[Part, ...]]]:
        shapes = self._shapes[component]
        modules = {module_of(parameter)[0] for parameter in shapes}
        if component == "unet" and OF_SDXL in modules:
            yield from ((name, (Part(path),)) for name, path in ldm_names(modules))
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
        if component == SECOND and THIRD not in self._shapes and self._begins(component, OF_T5):
            return FLAT_ENCODERS[THIRD]  # FLUX.1: kohya numbers T5 as in SD 3
        prefix = (FLAT | FLAT_ENCODERS).get(component)
        if prefix is None:
            message = f"{self.style} has no name for layers of this part of a model"
            raise ToolRefused([Reason(Code.NO_FORM, component, message)])
        return prefix

    def _path(self, component: str, module: str) -> str:
        # transformers 5.6 dropped a level that every file has.
        return CLIP + module if component in FLAT_ENCODERS and self._begins(component, OF_CLIP) else module

    def _begins(self, component: str, start: str) -> bool:
        return any(name.startswith(start) for name in self._shapes[component])
