"""Bypass: changes added to a layer's output, for the algorithms that have an exact forward form.

(W₀ + s·ΔW)·x = W₀·x + s·ΔW·x, and ΔW·x is cheap without ΔW: γ·up·(down·x) for low rank (Hu et al., 2021, arXiv
2106.09685), and for w1 ⊗ w2 the product w1·X·w2ᵀ, where X is the input as a matrix (the vec trick; Edalati et al.,
2022, arXiv 2212.10650). Convolutions work alike: one factor holds the kernel and is applied with the layer's own
stride, padding and dilation; the others are 1×1.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lycoris.algorithms.change import ANY, Change
from lycoris.algorithms.ia3 import IA3, PeftIA3
from lycoris.algorithms.lokr import LoKr
from lycoris.algorithms.lora import LoRA
from lycoris.hooked.layers import Site
from lycoris.kernels.linalg import finite, matrix

CONVOLUTIONS: Mapping[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
}


class RowMap(NamedTuple):
    """Which rows of a change belong to which rows of a layer's weight."""

    to: int  # the first row of the layer's weight
    start: int  # the first row of the change
    size: int  # number of rows


class Chain(NamedTuple):
    """Factors in the order in which they are applied."""

    factors: tuple[Tensor, ...]  # each (p, q) or (p, q, *k)
    kernel: int  # index of the factor that holds the kernel


class Addend(ABC):
    """The output of one change on one layer (linear, or a convolution), computed in the dtype of the layer's output."""

    def __init__(self, site: Site, chain: Chain, others: Sequence[Tensor] = ()) -> None:
        self._module: Any = site.module
        self._convolve = next((do for kind, do in CONVOLUTIONS.items() if isinstance(site.module, kind)), None)
        self._groups = site.groups
        self._kernel = chain.kernel
        kernel = site.shape[2:]
        ones = (1,) * len(kernel)
        self._factors = (
            *others,
            *(
                matrix(factor).view(len(factor), -1, *(kernel if k == chain.kernel else ones))
                for k, factor in enumerate(chain.factors)
            ),
        )
        self._cast: tuple[Tensor, ...] = ()

    def fits(self, dtype: torch.dtype) -> bool:
        """Tell whether the factors are finite in this dtype."""
        return all(finite(factor.to(dtype)) for factor in self._factors)

    @abstractmethod
    def add(self, y: Tensor, x: Tensor, strength: float) -> Tensor:
        """Return y + strength·ΔW·x, where y is the layer's output for x."""

    def _like(self, y: Tensor) -> tuple[Tensor, ...]:
        """Return the factors in the dtype and on the device of y, cached for the next call."""
        if not self._cast or (self._cast[0].dtype, self._cast[0].device) != (y.dtype, y.device):
            with torch.inference_mode(False):  # cached tensors must work inside and outside inference mode
                self._cast = tuple(factor.to(y.device, y.dtype) for factor in self._factors)
        return self._cast

    def _apply(self, x: Tensor, factor: Tensor, groups: int, kernel: bool = False) -> Tensor:
        """Return the layer applied to x with another weight; kernel: with its own stride, padding and dilation."""
        if self._convolve is None:
            return F.linear(x, factor)
        layer = self._module
        stride, padding, dilation = (layer.stride, layer.padding, layer.dilation) if kernel else (1, 0, 1)
        return self._convolve(x, factor, None, stride, padding, dilation, groups)


class LowRankAddend(Addend):
    """γ·up·(down·x); with a Tucker core, γ·up·(mid·(down·x))."""

    def __init__(self, site: Site, change: LoRA, rows: Sequence[RowMap]) -> None:
        up = matrix(change.lora_up.float()) * change.gamma
        inner = [change.lora_down.float(), *([] if change.lora_mid is None else [change.lora_mid.float()])]
        # The same factors for every group of channels, concatenated along dim 0
        inner = [factor.repeat(site.groups, *[1] * (factor.ndim - 1)) for factor in inner]
        super().__init__(site, Chain((*inner, scattered(up, site, rows)), len(inner) - 1))

    def add(self, y: Tensor, x: Tensor, strength: float) -> Tensor:
        *inner, up = self._like(y)
        for k, factor in enumerate(inner):
            x = self._apply(x, factor, self._groups, kernel=k == self._kernel)
        if self._convolve is not None:
            return torch.add(y, self._apply(x, up, self._groups), alpha=strength)
        flat = torch.addmm(y.reshape(-1, y.shape[-1]), x.reshape(-1, x.shape[-1]), up.T, alpha=strength)
        return flat.view(y.shape)


class KroneckerAddend(Addend):
    """γ·w1·X·w2ᵀ, where X (c, d) is the input as a matrix."""

    def __init__(self, site: Site, change: LoKr, rows: Sequence[RowMap]) -> None:
        del rows  # always all rows of both: rows cut across the blocks are no Kronecker product
        w1 = _product(change.lokr_w1, change.lokr_w1_a, change.lokr_w1_b)
        if change.lokr_w2 is not None:
            chain = Chain((change.lokr_w2.float(),), 0)
        else:
            assert change.lokr_w2_a is not None and change.lokr_w2_b is not None
            left, right = change.lokr_w2_a.float(), change.lokr_w2_b.float()
            core = change.lokr_t2
            chain = Chain((right, left), 0) if core is None else Chain((right, core.float(), left.T), 1)
        super().__init__(site, chain, others=(w1 * change.gamma,))

    def add(self, y: Tensor, x: Tensor, strength: float) -> Tensor:
        w1, *chain = self._like(y)
        c, groups = w1.shape[1], self._groups
        if self._convolve is None:
            x = x.unflatten(-1, (c, -1))  # (…, c, d)
            for factor in chain:
                x = F.linear(x, factor)  # (…, c, b) after the last
            return torch.add(y, (w1 @ x).flatten(-2), alpha=strength)
        x = x.reshape(len(x) * groups * c, -1, *x.shape[2:])
        for k, factor in enumerate(chain):
            x = self._apply(x, factor, 1, kernel=k == self._kernel)
        made = w1 @ x.reshape(len(y) * groups, c, -1)  # (n·g, a, b·∏size)
        made = made.view(len(y), groups, groups, y.shape[1] // groups, -1)
        # Each group now has all rows of the product for its own inputs; only the rows of its own outputs are kept
        own = made.diagonal(dim1=1, dim2=2).movedim(-1, 1)  # (n, g, o/g, ∏size)
        return torch.add(y, own.reshape(y.shape), alpha=strength)


def scattered(factor: Tensor, site: Site, rows: Sequence[RowMap]) -> Tensor:
    """Scatter the change's rows into the layer's rows, zero elsewhere."""
    whole = factor.new_zeros(site.shape[0], *factor.shape[1:])
    for to, start, size in rows:
        whole[to : to + size] = factor[start : start + size]
    return whole


def _product(whole: Tensor | None, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Return a factor that is stored whole or as left·right, as a float32 matrix."""
    if whole is not None:
        return matrix(whole.float())
    assert left is not None and right is not None
    return left.float() @ right.float()


ADDENDS: Mapping[type[Change], Callable[[Site, Any, Sequence[RowMap]], Addend]] = {
    LoRA: LowRankAddend,
    LoKr: KroneckerAddend,
}
SCALES: Mapping[type[Change], Callable[[Any], Tensor]] = {  # of W₀ ∘ (1 + s·w): w, one value per input or output
    IA3: lambda change: change.weight.float().flatten(),
    PeftIA3: lambda change: change.ia3_l.float().flatten() - 1,
}


def has_form(change: Change) -> bool:
    """Tell whether a change of a weight has an exact forward form."""
    sparse = isinstance(change, LoRA) and change.bias_indices is not None
    return type(change) in {*ADDENDS, *SCALES} and not sparse


def scales_inputs(change: Change, shape: tuple[int, ...]) -> bool:
    """Tell whether a change of SCALES scales the inputs of a weight of this shape, rather than the outputs."""
    return change.axes(shape) == (1,) if isinstance(change, PeftIA3) else change.shape[0] == ANY
