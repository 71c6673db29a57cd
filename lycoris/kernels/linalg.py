"""Matrix products, and rules about shapes and values, that two or more files share."""

from collections.abc import Iterator, Sequence
from math import isfinite, prod

import torch
from torch import Tensor

ALIGNED = 64  # bytes; the address of a matrix of a few rows decides the last bit of its products
BLOCK_CAP = 4096  # the largest block of a rotation; solving one takes n³ steps
SKEW_CAP = 1e7  # ‖Q‖ up to which a rotation solved in float64 is good to the last bit of float32


def tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return Σₘₙ core[m, n, …] · left[m, o] · right[n, i], of shape (o, i, …).

    core (m, n, …), left (m, o), right (n, i): the Tucker-2 (CP) form in which kernels share a small core.
    """
    return (left.T @ inward(core, right)).view(left.shape[1], right.shape[1], *core.shape[2:])


def inward(core: Tensor, right: Tensor) -> Tensor:
    """Return Σₙ core[m, n, …] · right[n, i] as a matrix (m, i·∏k), so that left.T @ it is the Tucker product."""
    # Plain products: the steps of einsum, and with them the last bit, depend on whether opt_einsum is installed.
    return (right.T @ core.view(*core.shape[:2], -1)).flatten(1)  # (m, i, ∏k)


def fits(implied: Sequence[int], target: Sequence[int]) -> bool:
    """Tell whether a change of shape `implied` may be added to a weight of shape `target`; −1 matches any size.

    A 1×1 convolution and a linear layer are the same matrix (SD 1's `proj_in` is the first, SD 2's the second), and a
    matrix (o, i·∏k) is a kernel (o, i, *k) written flat. Nothing else fits: nothing is broadcast.
    """
    if len(target) < 2:
        return _agree(implied, target)
    as_matrix = (target[0], prod(target[1:]))
    return _agree(_without_ones(implied), _without_ones(target)) or _agree(implied, as_matrix)


def matrix(tensor: Tensor) -> Tensor:
    """Return the tensor as a matrix, keeping the first axis: (o, i, *k) -> (o, i·∏k)."""
    return tensor.flatten(1)


def by_rows(pristine: Tensor, like: Tensor) -> Tensor:
    """Return a weight in the dtype of `like`, contiguous and aligned.

    The last bit of a product with it then does not depend on the memory layout or address of the model's weights.
    """
    return aligned(pristine.to(like))


def aligned(tensor: Tensor) -> Tensor:
    """Return a tensor contiguous and aligned: itself where it already is."""
    return tensor if is_single(tensor, tensor.dtype) else tensor.clone(memory_format=torch.contiguous_format)


def is_single(tensor: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Tell whether a tensor has the dtype, and is contiguous and aligned."""
    return tensor.dtype == dtype and tensor.is_contiguous() and tensor.data_ptr() % ALIGNED == 0


def cayley(skew: Tensor) -> Tensor:
    """Return (I + Q)(I − Q)⁻¹ for a batch of skew-symmetric Q (…, n, n): rotations, orthogonal to float64 precision.

    I − Q always has an inverse; the smaller Q, the better it is conditioned (`cayley_problems` sets the limit).
    """
    double = skew.double()
    one = torch.eye(skew.shape[-1], dtype=double.dtype, device=skew.device)
    return torch.linalg.solve(one - double, one + double).to(skew)


def cayley_problems(blocks: Tensor, what: str) -> Iterator[str]:
    """Yield why blocks (…, n, n) cannot become rotations: not square, too large to solve, or values too large."""
    n = blocks.shape[-1]
    if n != blocks.shape[-2]:
        yield f"{what} {tuple(blocks.shape)} is not made of square blocks"
    elif n > BLOCK_CAP or blocks.numel() * n > BLOCK_CAP**3:
        yield f"{what} {tuple(blocks.shape)} has blocks too large to solve: the largest allowed is {BLOCK_CAP}"
    elif largest(blocks) * n > SKEW_CAP:
        yield f"{what} holds values too large for a rotation: all precision would be lost"


def holds(mask: Tensor) -> bool:
    """Tell whether any element is true or not 0; False on the meta device, where there are no values."""
    return not mask.is_meta and bool(mask.any())


def largest(tensor: Tensor) -> float:
    """Return the largest absolute value of a float tensor; NaN or inf if any element is.

    0 for an empty tensor and on the meta device. One pass without a copy: on a CPU sixty times faster than testing
    every element.
    """
    if tensor.is_meta or not tensor.numel():
        return 0.0
    wide = tensor.float() if tensor.dtype.itemsize < 2 else tensor  # float8 has no aminmax
    low, high = wide.detach().aminmax()  # NaN if anything is
    return max(abs(low.item()), abs(high.item()))


def finite(tensor: Tensor) -> bool:
    """Tell whether every element of a float tensor is finite; True on the meta device, where there are no values."""
    return isfinite(largest(tensor))


def _agree(implied: Sequence[int], target: Sequence[int]) -> bool:
    return len(implied) == len(target) and all(a in (b, -1) for a, b in zip(implied, target, strict=True))


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = list(shape)
    while len(kept) > 2 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)
