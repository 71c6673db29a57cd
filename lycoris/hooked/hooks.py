"""The forward hooks of a layer, which add a stack's changes to its output, and of the model that should call it."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lycoris.errors import Code, NeverCalled, Reason
from lycoris.hooked.forward import Addend
from lycoris.hooked.layers import Site
from lycoris.hooked.region import CONVOLVED, Region, positions
from lycoris.kernels.linalg import finite

LINEAR_AXES = 2  # of a linear layer's weight
NOT_CALLED = "was not called when its model ran: what else may read its weight reads it without the change"


class LayerHooks:
    """y = W₀x + Σ s·ΔWx of the addends, with inputs or outputs scaled by (IA)³, and changes of the bias."""

    def __init__(self, site: Site, owner: object) -> None:
        self.site = site
        self.name = site.name
        self.owner = owner
        self.addends: list[tuple[Addend, float, Region | None]] = []
        self.inputs: Tensor | None = None  # (i), Σ s·w
        self.outputs: Tensor | None = None  # (o), Σ s·w
        self.bias: Tensor | None = None  # (o), Σ s·Δb
        self.biases: list[tuple[Tensor, Region]] = []  # s·Δb of those that are kept to a region
        self.called = False
        self._input: Tensor | None = None

    def fits(self) -> bool:
        """Tell whether every tensor is finite in the layer's dtype."""
        dtype = self.site.module.weight.dtype
        if not dtype.is_floating_point:
            return True  # quantised: the compute dtype is only known when the layer runs
        rows = [row for row in (self.inputs, self.outputs, self.bias) if row is not None]
        rows += [bias for bias, _ in self.biases]
        return all(finite(row.to(dtype)) for row in rows) and all(addend.fits(dtype) for addend, _, _ in self.addends)

    def register(self) -> None:
        """Register the hooks on the layer."""
        if self.inputs is not None:
            self.site.module.register_forward_pre_hook(self.before_forward)
        self.site.module.register_forward_hook(self.after_forward)

    def before_forward(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Scale the layer's input, and keep the unscaled one for the addends."""
        assert self.inputs is not None
        self._input = x = args[0]
        return (x * self._along_channels(1 + self.inputs, x), *args[1:])

    def after_forward(self, _module: nn.Module, args: tuple[Any, ...], y: Tensor) -> Tensor:
        """Return the layer's output with all changes added."""
        self.called = True
        x, self._input = (args[0] if self._input is None else self._input), None
        x = x.to(y.dtype)
        if self.outputs is not None:
            own = self.site.module.bias
            plain = y if own is None else y - self._along_channels(own, y)
            y = y + plain * self._along_channels(self.outputs, y)
        for addend, strength, region in self.addends:
            y = self._within(region, y, addend.add(y, x, strength))
        for bias, region in self.biases:
            y = self._within(region, y, y + self._along_channels(bias, y))
        return y if self.bias is None else y + self._along_channels(self.bias, y)

    def _within(self, region: Region | None, y: Tensor, changed: Tensor) -> Tensor:
        """Return `changed` inside a region, y outside of it, and what lies between where the mask is grey."""
        if region is None:
            return changed
        if len(self.site.shape) >= CONVOLVED:
            mask = region.of_convolution(y, self.name)
        else:
            component, _, path = self.name.partition(".")
            mask = region.of_tokens(y, self.name, positions(component, path) == "text and picture")
        return torch.lerp(y, changed, mask)  # exact at 0 and at 1

    def _along_channels(self, row: Tensor, like: Tensor) -> Tensor:
        """Return a row that broadcasts over the channels of `like`: last axis if linear, second of a convolution."""
        row = row.to(like.device, like.dtype)
        beyond = len(self.site.shape) - LINEAR_AXES
        return row.view(-1, *(1,) * beyond)


class Called(Protocol):
    """A layer under its name, and whether it was called with the stack that is on it."""

    name: str
    called: bool


class ComponentHook:
    """Refuses what a component computed without calling one of its layers, as attention that reads a weight itself."""

    def __init__(self, layers: Iterable[Called], owner: object) -> None:
        self.owner = owner
        self._layers = tuple(layers)

    def register(self, component: nn.Module) -> None:
        """Register the hook on the component, after those of its layers."""
        component.register_forward_hook(self.after_forward)

    def after_forward(self, _component: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
        """Raise NeverCalled where a whole forward did not call a layer; nothing more after the first that did."""
        missed = [layer.name for layer in self._layers if not layer.called]
        if missed:
            raise NeverCalled(Reason(Code.NOT_CALLED, name, NOT_CALLED) for name in missed)
        self._layers = ()

    def check(self, component: nn.Module) -> None:
        """Raise NeverCalled as after a whole forward, where only parts of the component were called."""
        if any(layer.called for layer in self._layers):
            self.after_forward(component, (), None)


def remove(module: nn.Module, owner: object) -> None:
    """Remove every hook of this owner from a module.

    The hooks are searched for rather than remembered by handle: an interruption between registering one and storing
    its handle would lose it.
    """
    before = module._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    after = module._forward_hooks  # pyright: ignore[reportPrivateUsage]
    for hooks in (before, after):
        for key, hook in tuple(hooks.items()):
            holder = getattr(hook, "__self__", None)
            if isinstance(holder, LayerHooks | ComponentHook) and holder.owner is owner:
                del hooks[key]
