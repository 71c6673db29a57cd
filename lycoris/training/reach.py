"""The layers of a live model that a plan trains: by kind, by the names asked for, and by what stands against them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from lycoris.errors import Code, PlanRefused, Reason
from lycoris.hooked.owners import Held, held_by
from lycoris.kernels.stored import dense
from lycoris.placement.shapes import weight_shape
from lycoris.tools.kinds import ELSEWHERE, block_of
from lycoris.training.options import Kind
from lycoris.training.plan import Plan

ENCODER = "text_encoder"  # in the name of every component that is one


@dataclass(frozen=True, eq=False)
class TrainedLayer:
    """One module of a model whose weight is trained."""

    component: str
    path: str
    kind: Kind
    shape: tuple[int, ...]  # of its weight, as its numbers stand for, quantised or not
    bias: bool  # whether it has one
    module: nn.Module

    @property
    def name(self) -> str:
        """The layer's name in factors and in messages."""
        return f"{self.component}.{self.path}"

    @property
    def device(self) -> torch.device:
        """Where the layer computes."""
        return self.module.get_parameter("weight").device

    def weight(self) -> Tensor:
        """Return the layer's weight as float32, on its own device."""
        return dense(self.module.get_parameter("weight")).float()


def reached(components: Mapping[str, nn.Module], plan: Plan) -> tuple[list[TrainedLayer], list[str]]:
    """Return the layers that a plan trains, in the model's order, and a note for each that it would have but cannot.

    Raises PlanRefused where a pattern names no layer that can be trained, or where nothing is left.
    """
    held = held_by(components)
    found = [layer for layer in _layers(components) if layer.kind in plan.facts.reaches]
    if not plan.text_encoders:
        found = [layer for layer in found if ENCODER not in layer.component]
    chosen = _named(found, plan.layers) if plan.layers else _inner(found)
    notes = {layer: why for layer in chosen if (why := _obstacle(layer, held))}
    layers = _each_once([layer for layer in chosen if layer not in notes], held)
    if not layers:
        kinds = " or ".join(plan.facts.reaches)
        message = f"{plan.algorithm} trains {kinds} layers, and none of the model's that are asked for is one"
        raise PlanRefused([Reason(Code.NO_MODULE, "layers", message)])
    return layers, [f"{layer.name} is not trained: it {why}" for layer, why in notes.items()]


def _layers(components: Mapping[str, nn.Module]) -> Iterator[TrainedLayer]:
    for component, part in components.items():
        for path, module in part.named_modules():
            shape, kind = _shape(module)
            if path and kind is not None:
                bias = module._parameters.get("bias") is not None  # pyright: ignore[reportPrivateUsage]
                yield TrainedLayer(component, path, kind, shape, bias, module)


def _shape(module: nn.Module) -> tuple[tuple[int, ...], Kind | None]:
    shape = weight_shape(module)
    if shape is not None:
        return shape, "linear" if len(shape) == 2 else "convolution"
    weight = module._parameters.get("weight")  # pyright: ignore[reportPrivateUsage]
    if weight is not None and weight.ndim == 1 and "norm" in type(module).__name__.lower():
        return tuple(weight.shape), "norm"
    return (), None


def _named(found: list[TrainedLayer], patterns: tuple[str, ...]) -> list[TrainedLayer]:
    unmatched = [one for one in patterns if not any(fnmatchcase(layer.name, one) for layer in found)]
    if unmatched:
        message = "names no layer that this algorithm trains"
        raise PlanRefused(Reason(Code.NO_MODULE, "layers", f"{pattern!r} {message}") for pattern in unmatched)
    return [layer for layer in found if any(fnmatchcase(layer.name, one) for one in patterns)]


def _inner(found: list[TrainedLayer]) -> list[TrainedLayer]:
    """Return the layers inside the model's blocks: not those at its ends, and of its times; all where it has none."""
    inner = [layer for layer in found if block_of(layer.component, layer.path) != ELSEWHERE]
    return inner or found


def _obstacle(layer: TrainedLayer, held: Mapping[tuple[str, str], Held]) -> str:
    one = held.get((layer.component, f"{layer.path}.weight"))
    return one.obstacle if one else "has no weight of its own"


def _each_once(layers: list[TrainedLayer], held: Mapping[tuple[str, str], Held]) -> list[TrainedLayer]:
    """Return the layers without those whose weight another one holds too: it is trained there."""
    first = {held[layer.component, f"{layer.path}.weight"]: layer for layer in reversed(layers)}
    return [layer for layer in layers if first[held[layer.component, f"{layer.path}.weight"]] is layer]
