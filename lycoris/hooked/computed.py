"""A module whose forward computes with changed weights: they are made at every call, and written nowhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lycoris.errors import not_finite
from lycoris.hooked.owners import Held, Owner, dense_forward
from lycoris.kernels.linalg import finite
from lycoris.kernels.precision import exact_float32
from lycoris.kernels.stored import dense, quantised
from lycoris.placement.shapes import weight_shape


class Group(Protocol):
    """Weights whose changes are computed together, because one change sees several of them."""

    @property
    def seen(self) -> Sequence[Held]:
        """Every weight that the changes see."""
        ...

    def changes(self, pristine: Mapping[Held, Tensor]) -> Mapping[Held, Tensor]:
        """Return the change of every weight that is changed, float32, from all that are seen."""
        ...


@dataclass(eq=False)
class ComputedForward:
    """Takes the place of a module's `forward`, where a module looks before its class: y = f(x; W₀ + Σ sᵢ·ΔWᵢ).

    The module's own forward is called on a twin, an object with the same attributes and its own table of parameters.
    So whatever a module computes from its weights, it computes from the changed ones; and nobody else sees them.
    """

    name: str
    module: nn.Module
    owner: object
    changed: dict[str, tuple[Held, Group]]  # by the parameter's name in the module
    checkpointing: bool = False
    called: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module's own forward returns, with the changed weights."""
        if self.checkpointing and torch.is_grad_enabled():
            # Nothing here is random, so no state of a generator has to be kept
            return checkpoint(self._computed, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
        return self._computed(*args, **kwargs)

    def _computed(self, *args: Any, **kwargs: Any) -> Any:
        weights = self._weights([*args, *kwargs.values()])
        if not self.called:  # once in the life of a stack: to read every weight again costs a tenth of a call
            unfit = [f"{self.name}.{name}" for name, weight in weights.items() if not finite(weight)]
            if unfit:
                raise not_finite(unfit)
        self.called = True
        twin: Any = object.__new__(type(self.module))
        vars(twin).update(vars(self.module))
        del vars(twin)["forward"]
        vars(twin)["_parameters"] = vars(self.module)["_parameters"] | weights
        return dense_forward(self.module)(twin, *args, **kwargs)

    @property
    def numbers(self) -> int:
        """How many numbers its changed parameters have, whatever they are stored in."""
        shapes = {"weight": weight_shape(self.module)}
        return sum(prod(shapes.get(name) or self.module.get_parameter(name).shape) for name in self.changed)

    def register(self) -> None:
        """Put this in the place of the module's forward."""
        self.module.forward = self

    def _weights(self, inputs: Sequence[Any]) -> dict[str, Tensor]:
        """Return the changed parameters, and those that are quantised, by name."""
        parameters = dict(self.module.named_parameters(recurse=False))
        stored = any(quantised(parameter) for parameter in parameters.values())
        wanted = next((x.dtype for x in inputs if isinstance(x, Tensor) and x.is_floating_point()), torch.float32)
        made: dict[str, Tensor] = {name: dense(each).to(wanted) for name, each in parameters.items() if stored}
        by_group: dict[Group, Mapping[Held, Tensor]] = {}
        with exact_float32({parameter.device.type for parameter in parameters.values()}):
            for name, (held, group) in self.changed.items():
                if group not in by_group:
                    by_group[group] = group.changes({each: dense(_parameter(each.owners[0])) for each in group.seen})
                changes = by_group[group]
                pristine = dense(parameters[name])
                made[name] = (pristine + changes[held]).to(wanted if stored else parameters[name].dtype)
        return made


def _parameter(owner: Owner) -> Tensor:
    return owner.module.get_parameter(owner.parameter)


def remove_forward(module: nn.Module, owner: object) -> None:
    """Give a module its own forward back, where this owner has replaced it."""
    found = vars(module).get("forward")
    if isinstance(found, ComputedForward) and found.owner is owner:
        del vars(module)["forward"]
