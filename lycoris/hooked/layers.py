"""The linear and convolutional layers of a model, with the logical shapes of their weights, quantised or not."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lycoris.placement.shapes import weight_shape

SEALED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # read weights of inner layers without calling the layers
READ_AROUND = "is read by the layer around it, and not only called"


@dataclass(frozen=True, eq=False)
class Site:
    """A layer whose output hooks can change."""

    name: str
    module: Any
    shape: tuple[int, ...]  # of its weight: (o, i), or (o, i/groups, *k)
    obstacle: str  # why no adapter can be bypassed here, or empty

    @property
    def groups(self) -> int:
        """The `groups` of a convolution; 1 for a linear layer."""
        return getattr(self.module, "groups", 1)


def sites_of(components: Mapping[str, nn.Module]) -> dict[tuple[str, str], Site]:
    """Return every linear and convolutional layer by (component, path); one module under two paths is one site."""
    users = _users(components)
    sites: dict[tuple[str, str], Site] = {}
    by_module: dict[nn.Module, Site] = {}
    for component, part in components.items():
        sealed = sealed_in(part)
        for path, module in part.named_modules(remove_duplicate=False):
            shape = weight_shape(module)
            if shape is None:
                continue
            obstacle = ""
            if module in sealed:
                obstacle = READ_AROUND
            elif any(users[id(weight)] > 1 for weight in module.parameters(recurse=False)):
                obstacle = "is a weight that other layers share"
            elif getattr(module, "padding_mode", "zeros") != "zeros":
                obstacle = f"belongs to a convolution with padding_mode {module.padding_mode}"
            site = Site(f"{component}.{path}", module, shape, obstacle)
            sites[component, path] = by_module.setdefault(module, site)
    return sites


def bypass_sites(components: Mapping[str, nn.Module]) -> dict[str, dict[str, str]]:
    """Return component -> path of a layer -> why nothing can be bypassed there, or ""."""
    found: dict[str, dict[str, str]] = {component: {} for component in components}
    for (component, path), site in sites_of(components).items():
        found[component][path] = site.obstacle
    return found


def sealed_in(part: nn.Module) -> set[nn.Module]:
    """Return the layers of a component whose weights the layer around them reads, with that layer."""
    return {inner for module in part.modules() if isinstance(module, SEALED) for inner in module.modules()}


def _users(components: Mapping[str, nn.Module]) -> Counter[int]:
    """Return the number of modules that directly hold each parameter, by its id."""
    modules = {module for part in components.values() for module in part.modules()}
    return Counter(id(weight) for module in modules for weight in set(module.parameters(recurse=False)))
