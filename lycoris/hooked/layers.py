"""The linear and convolutional layers of a model, with the shapes that their weights have however they are stored."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SEALED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # read the weights of the layers in them, call them or not


@dataclass(frozen=True, eq=False)
class Site:
    """A layer whose output can be added to."""

    name: str
    module: Any
    shape: tuple[int, ...]  # of its weight: (o, i), or (o, i/groups, *k)
    hindrance: str  # why nothing can be worn beside its weight, or nothing

    @property
    def groups(self) -> int:
        """How many groups of channels a convolution keeps apart; 1 for a linear layer."""
        return getattr(self.module, "groups", 1)


def sites_of(components: Mapping[str, nn.Module]) -> dict[tuple[str, str], Site]:
    """Return every linear and convolutional layer by (component, path); one object under two paths is one site."""
    users = _users(components)
    sites: dict[tuple[str, str], Site] = {}
    by_module: dict[nn.Module, Site] = {}
    for component, part in components.items():
        sealed = {inner for module in part.modules() if isinstance(module, SEALED) for inner in module.modules()}
        for path, module in part.named_modules(remove_duplicate=False):
            shape = _shape(module)
            if shape is None:
                continue
            hindrance = ""
            if module in sealed:
                hindrance = "is read by the layer around it, and not only called"
            elif any(users[id(weight)] > 1 for weight in module.parameters(recurse=False)):
                hindrance = "is a weight that other layers have too"
            elif getattr(module, "padding_mode", "zeros") != "zeros":
                hindrance = f"is of a convolution that pads with {module.padding_mode}"
            site = Site(f"{component}.{path}", module, shape, hindrance)
            sites[component, path] = by_module.setdefault(module, site)
    return sites


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, of weights stored in another form (quantised) as the layer has them."""
    shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters(remove_duplicate=False)}
    for path, layer in module.named_modules(remove_duplicate=False):
        shape = _shape(layer)
        if shape is not None:
            shapes[f"{path}.weight" if path else "weight"] = shape
    return shapes


def _shape(module: Any) -> tuple[int, ...] | None:
    if isinstance(module, KERNELS):
        return (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
    # Quantised layers of other libraries are often linear without being an nn.Linear
    sizes = (getattr(module, "out_features", None), getattr(module, "in_features", None))
    linear = isinstance(module, nn.Linear) or type(module).__name__.endswith("Linear")
    return sizes if linear and all(isinstance(size, int) for size in sizes) else None  # type: ignore[return-value]


def _users(components: Mapping[str, nn.Module]) -> Counter[int]:
    """Return how many layers have each parameter as their own."""
    modules = {module for part in components.values() for module in part.modules()}
    return Counter(id(weight) for module in modules for weight in set(module.parameters(recurse=False)))
