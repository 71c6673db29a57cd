"""The modules that hold a model's parameters: where a weight can be computed anew whenever its module is called."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lycoris.hooked.layers import READ_AROUND, sealed_in
from lycoris.kernels.stored import quantised, readable
from lycoris.placement.shapes import KERNELS, weight_shape

Forward = Callable[..., Any]  # of a class: it takes the module first


@dataclass(frozen=True, eq=False)
class Owner:
    """A module, by the name of one of its own parameters."""

    name: str  # of the module, with its component
    module: nn.Module
    parameter: str  # as the module names it: "weight"


@dataclass(frozen=True, eq=False)
class Held:
    """A parameter of a model, with every module that holds it; tied modules hold one parameter."""

    name: str  # the first of its names
    owners: tuple[Owner, ...]
    obstacle: str  # why it cannot be computed anew, or empty


def held_by(components: Mapping[str, nn.Module]) -> dict[tuple[str, str], Held]:
    """Return every parameter by (component, name); one parameter under two names is one `Held`."""
    names: dict[tuple[str, str], int] = {}
    owners: dict[int, dict[tuple[nn.Module, str], Owner]] = defaultdict(dict)
    hindered: dict[int, str] = {}
    for component, part in components.items():
        sealed = sealed_in(part)
        for path, module in part.named_modules(remove_duplicate=False):
            own = module.named_parameters(recurse=False, remove_duplicate=False)
            for name, parameter in own:
                key, place = id(parameter), f"{path}.{name}" if path else name
                names[component, place] = key
                owner = Owner(f"{component}.{path}" if path else component, module, name)
                owners[key].setdefault((module, name), owner)
                hindered.setdefault(key, "")
                hindered[key] = hindered[key] or _obstacle(module, parameter, module in sealed)
    first: dict[int, str] = {}
    for (component, place), key in names.items():
        first.setdefault(key, f"{component}.{place}")
    held = {key: Held(first[key], tuple(found.values()), hindered[key]) for key, found in owners.items()}
    return {name: held[key] for name, key in names.items()}


def recompute_obstacles(components: Mapping[str, nn.Module]) -> dict[str, dict[str, str]]:
    """Return component -> parameter -> why it cannot be computed anew, of those that cannot."""
    found: dict[str, dict[str, str]] = {component: {} for component in components}
    for (component, name), held in held_by(components).items():
        if held.obstacle:
            found[component][name] = held.obstacle
    return found


def dense_forward(module: nn.Module) -> Forward:
    """Return how a module of this kind computes with plain weights, whatever stores the module's own."""
    if not any(quantised(parameter) for parameter in module.parameters(recurse=False)):
        return type(module).forward
    return next((kind.forward for kind in KERNELS if isinstance(module, kind)), nn.Linear.forward)


def _obstacle(module: nn.Module, parameter: nn.Parameter, sealed: bool) -> str:
    if sealed:
        return READ_AROUND
    if "forward" in vars(module):
        return "belongs to a layer whose forward something else has replaced"
    if any(quantised(each) for each in module.parameters(recurse=False)) and weight_shape(module) is None:
        return "belongs to a quantised layer that is neither linear nor a convolution"
    if not readable(parameter):
        return f"is stored as {type(parameter).__name__} of {parameter.dtype}, which cannot be read here"
    return ""
