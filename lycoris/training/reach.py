"""The layers of a live model that a plan trains: by kind, by the names asked for, and by what stands against them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lycoris.hooked.owners import held_by
from lycoris.kernels.stored import dense
from lycoris.placement.shapes import weight_shape
from lycoris.training.options import Kind
from lycoris.training.sites import Site


@dataclass(frozen=True, eq=False)
class TrainedLayer(Site):
    """One module of a model whose weight is trained."""

    module: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the layer computes."""
        return self.module.get_parameter("weight").device

    def weight(self) -> Tensor:
        """Return the layer's weight as float32, on its own device."""
        return dense(self.module.get_parameter("weight")).float()


def trainable_layers(components: Mapping[str, nn.Module]) -> Iterator[TrainedLayer]:
    """Yield every layer that some algorithm trains, in the model's order."""
    held = held_by(components)
    for component, part in components.items():
        for path, module in part.named_modules():
            shape, kind = _shape(module)
            if path and kind is not None:
                bias = module._parameters.get("bias") is not None  # pyright: ignore[reportPrivateUsage]
                one = held.get((component, f"{path}.weight"))
                obstacle = one.obstacle if one else "has no weight of its own"
                name = one.name if one else f"{component}.{path}.weight"
                yield TrainedLayer(component, path, kind, shape, bias, obstacle, name, module)


def _shape(module: nn.Module) -> tuple[tuple[int, ...], Kind | None]:
    shape = weight_shape(module)
    if shape is not None:
        return shape, "linear" if len(shape) == 2 else "convolution"
    weight = module._parameters.get("weight")  # pyright: ignore[reportPrivateUsage]
    if weight is not None and weight.ndim == 1 and "norm" in type(module).__name__.lower():
        return tuple(weight.shape), "norm"
    return (), None
