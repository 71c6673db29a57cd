"""The linear and convolutional layers of a model, with the shapes that their weights have however they are stored."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lycoris.placement.shapes import weight_shape

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
            shape = weight_shape(module)
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


def hindrances_of(components: Mapping[str, nn.Module]) -> dict[str, dict[str, str]]:
    """Return component -> path of a layer -> why a bypass cannot apply anything there, or "" where it can."""
    found: dict[str, dict[str, str]] = {component: {} for component in components}
    for (component, path), site in sites_of(components).items():
        found[component][path] = site.hindrance
    return found


def _users(components: Mapping[str, nn.Module]) -> Counter[int]:
    """Return how many layers have each parameter as their own."""
    modules = {module for part in components.values() for module in part.modules()}
    return Counter(id(weight) for module in modules for weight in set(module.parameters(recurse=False)))
