"""The shapes of a model's parameters, by name, whether the model is live or known by names and shapes alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

Shapes = Mapping[str, Sequence[int]]  # parameter name -> shape
KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def shapes_of(part: nn.Module | Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of one component; a quantised weight has the shape that it stands for.

    Tied parameters have a name in each place, and a file may use either.
    """
    if not isinstance(part, nn.Module):
        return {name: tuple(int(size) for size in shape) for name, shape in part.items()}
    shapes = {name: tuple(weight.shape) for name, weight in part.named_parameters(remove_duplicate=False)}
    for path, layer in part.named_modules(remove_duplicate=False):
        shape = weight_shape(layer)
        if shape is not None:
            shapes[f"{path}.weight" if path else "weight"] = shape
    return shapes


def weight_shape(module: Any) -> tuple[int, ...] | None:
    """Return the shape of a linear or convolutional layer's weight, however it is stored; None for other modules."""
    if isinstance(module, KERNELS):
        return (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
    # Quantised layers of other libraries are often linear without being an nn.Linear
    sizes = (getattr(module, "out_features", None), getattr(module, "in_features", None))
    linear = isinstance(module, nn.Linear) or type(module).__name__.endswith("Linear")
    return sizes if linear and all(isinstance(size, int) for size in sizes) else None  # type: ignore[return-value]
