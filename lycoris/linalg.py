"""Products, and rules about shapes and numbers, that two or more files share."""

from collections.abc import Sequence
from math import isfinite, prod

from torch import Tensor


def tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return Σₘₙ core[m, n, …] · left[m, o] · right[n, i], of shape (o, i, …).

    core (m, n, …), left (m, o), right (n, i): the Tucker-2 (CP) form in which kernels share a small core.
    """
    # Two plain products: what einsum does in between depends on whether opt_einsum is installed,
    # and with it the last bit of the result.
    rows = (left.T @ core.flatten(1)).view(left.shape[1], core.shape[1], -1)  # (o, n, ∏k)
    return (right.T @ rows).view(left.shape[1], right.shape[1], *core.shape[2:])


def fits(implied: Sequence[int], target: Sequence[int]) -> bool:
    """Tell whether a change of shape `implied` may be added to a weight of shape `target`.

    A 1×1 convolution and a linear layer are the same matrix (SD 1's `proj_in` is one, SD 2's the other), and a
    matrix (o, i·∏k) is a way to write a kernel (o, i, *k). Nothing else fits: nothing is ever broadcast.
    """
    if len(target) < 2:
        return tuple(implied) == tuple(target)
    as_matrix = (target[0], prod(target[1:]))
    return _without_ones(implied) == _without_ones(target) or tuple(implied) == as_matrix


def matrix(tensor: Tensor) -> Tensor:
    """Return the tensor as a matrix, its first axis kept: (o, i, *k) -> (o, i·∏k)."""
    return tensor.flatten(1)


def finite(tensor: Tensor) -> bool:
    """Tell whether every number of a float tensor is finite."""
    # The extremes are NaN if anything is; sixty times faster on a CPU than asking every number.
    low, high = tensor.aminmax()
    return isfinite(low.item()) and isfinite(high.item())


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = list(shape)
    while len(kept) > 2 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)
