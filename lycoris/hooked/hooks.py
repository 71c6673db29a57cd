"""What one layer wears beside its weight, and the hooks by which it does."""

from typing import Any

from torch import Tensor, nn

from lycoris.hooked.forward import Addend
from lycoris.hooked.layers import Site
from lycoris.kernels.linalg import finite

FLAT = 2  # axes of a linear layer's weight


class Beside:
    """y = W₀x, and beside it Σ s·ΔWx of the addends, (IA)³'s numbers for inputs or outputs, and changes of the bias."""

    def __init__(self, site: Site, owner: object) -> None:
        self.site = site
        self.owner = owner
        self.addends: list[tuple[Addend, float]] = []
        self.inputs: Tensor | None = None  # (i), Σ s·w
        self.outputs: Tensor | None = None  # (o), Σ s·w
        self.bias: Tensor | None = None  # (o), Σ s·Δb
        self._given: Tensor | None = None

    def fits(self) -> bool:
        """Tell whether everything is finite in the precision of the layer."""
        dtype = self.site.module.weight.dtype
        if not dtype.is_floating_point:
            return True  # quantised: what the layer computes in is known only when it does
        rows = [row for row in (self.inputs, self.outputs, self.bias) if row is not None]
        return all(finite(row.to(dtype)) for row in rows) and all(addend.fits(dtype) for addend, _ in self.addends)

    def hang(self) -> None:
        """Put the hooks on the layer."""
        if self.inputs is not None:
            self.site.module.register_forward_pre_hook(self.before)
        self.site.module.register_forward_hook(self.after)

    @staticmethod
    def take_off(module: nn.Module, owner: object) -> None:
        """Take every hook of this owner off a layer.

        They are looked for, and no handles kept: an interruption between hanging one and keeping it would lose it.
        """
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in tuple(hooks.items()):
                layer = getattr(hook, "__self__", None)
                if isinstance(layer, Beside) and layer.owner is owner:
                    del hooks[key]

    def before(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Scale what the layer is given, and keep it as it came for the addends."""
        assert self.inputs is not None
        self._given = x = args[0]
        return (x * self._lying(1 + self.inputs, x), *args[1:])

    def after(self, _module: nn.Module, args: tuple[Any, ...], y: Tensor) -> Tensor:
        """Return what the layer put out, with what is worn."""
        x, self._given = (args[0] if self._given is None else self._given), None
        x = x.to(y.dtype)
        if self.outputs is not None:
            own = self.site.module.bias
            plain = y if own is None else y - self._lying(own, y)
            y = y + plain * self._lying(self.outputs, y)
        for addend, strength in self.addends:
            y = addend.add(y, x, strength)
        return y if self.bias is None else y + self._lying(self.bias, y)

    def _lying(self, row: Tensor, like: Tensor) -> Tensor:
        """Return numbers for the channels of `like`: last for a linear layer, after the batch for a convolution."""
        row = row.to(like.device, like.dtype)
        beyond = len(self.site.shape) - FLAT
        return row.view(-1, *(1,) * beyond)
