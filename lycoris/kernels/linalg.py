"""Products, and rules about shapes and numbers, that two or more files share."""

from collections.abc import Iterator, Sequence
from math import isfinite, prod

import torch
from torch import Tensor

ALIGNED = 64  # bytes; where a matrix of a few rows begins in memory decides the last bit of its products
BLOCK_CAP = 4096  # the largest block of a rotation; solving one takes n³ steps
SKEW_CAP = 1e7  # ‖Q‖ up to which a rotation solved in float64 is good to the last bit of float32


def tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return Σₘₙ core[m, n, …] · left[m, o] · right[n, i], of shape (o, i, …).

    core (m, n, …), left (m, o), right (n, i): the Tucker-2 (CP) form in which kernels share a small core.
    """
    return (left.T @ inward(core, right)).view(left.shape[1], right.shape[1], *core.shape[2:])


def inward(core: Tensor, right: Tensor) -> Tensor:
    """Return Σₙ core[m, n, …] · right[n, i] as a matrix (m, i·∏k): what is left of a Tucker product is a plain one."""
    # Plain products: what einsum does in between depends on whether opt_einsum is installed, and with it the last bit.
    return (right.T @ core.view(*core.shape[:2], -1)).flatten(1)  # (m, i, ∏k)


def fits(implied: Sequence[int], target: Sequence[int]) -> bool:
    """Tell whether a change of shape `implied` may be added to a weight of shape `target`; −1 agrees with any size.

    A 1×1 convolution and a linear layer are the same matrix (SD 1's `proj_in` is one, SD 2's the other), and a
    matrix (o, i·∏k) is a way to write a kernel (o, i, *k). Nothing else fits: nothing is ever broadcast.
    """
    if len(target) < 2:
        return _agree(implied, target)
    as_matrix = (target[0], prod(target[1:]))
    return _agree(_without_ones(implied), _without_ones(target)) or _agree(implied, as_matrix)


def matrix(tensor: Tensor) -> Tensor:
    """Return the tensor as a matrix, its first axis kept: (o, i, *k) -> (o, i·∏k)."""
    return tensor.flatten(1)


def by_rows(pristine: Tensor, like: Tensor) -> Tensor:
    """Return a weight in the precision of `like`, one row after the other in memory.

    However the model lays its weights out, and wherever they begin, the last bit of a product with them is then the
    same.
    """
    return aligned(pristine.to(like))


def aligned(tensor: Tensor) -> Tensor:
    """Return a tensor one row after the other in memory, and aligned: itself if it is so."""
    return tensor if is_single(tensor, tensor.dtype) else tensor.clone(memory_format=torch.contiguous_format)


def is_single(tensor: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Tell whether a tensor is of the dtype, one row after the other in memory, and aligned."""
    return tensor.dtype == dtype and tensor.is_contiguous() and tensor.data_ptr() % ALIGNED == 0


def cayley(skew: Tensor) -> Tensor:
    """Return (I + Q)(I − Q)⁻¹ for a batch of skew-symmetric Q (…, n, n): rotations, as orthogonal as float64 can say.

    I − Q always has an inverse, and is the better conditioned the smaller Q is: `cayley_problems` says how large.
    """
    double = skew.double()
    one = torch.eye(skew.shape[-1], dtype=double.dtype, device=skew.device)
    return torch.linalg.solve(one - double, one + double).to(skew)


def cayley_problems(blocks: Tensor, what: str) -> Iterator[str]:
    """Yield why blocks (…, n, n) cannot be made rotations: not square, too large to solve, or too far from I."""
    n = blocks.shape[-1]
    if n != blocks.shape[-2]:
        yield f"{what} {tuple(blocks.shape)} is not made of square blocks"
    elif n > BLOCK_CAP or blocks.numel() * n > BLOCK_CAP**3:
        yield f"{what} {tuple(blocks.shape)} has blocks too large to solve: the most is one of {BLOCK_CAP}"
    elif largest(blocks) * n > SKEW_CAP:
        yield f"{what} holds numbers too large for a rotation: nothing would be left of their precision"


def holds(mask: Tensor) -> bool:
    """Tell whether anything in a tensor is true or not 0; where there are no numbers (the meta device) nothing is."""
    return not mask.is_meta and bool(mask.any())


def largest(tensor: Tensor) -> float:
    """Return the largest absolute value of a float tensor, or what is not finite if anything is not.

    0 where there are no numbers (an empty one, or the meta device). In one pass and without a copy: sixty times faster
    on a CPU than asking every number.
    """
    if tensor.is_meta or not tensor.numel():
        return 0.0
    wide = tensor.float() if tensor.dtype.itemsize < 2 else tensor  # a float8 knows no extremes
    low, high = wide.detach().aminmax()  # NaN if anything is
    return max(abs(low.item()), abs(high.item()))


def finite(tensor: Tensor) -> bool:
    """Tell whether every number of a float tensor is finite; where there are no numbers (the meta device) all are."""
    return isfinite(largest(tensor))


def _agree(implied: Sequence[int], target: Sequence[int]) -> bool:
    return len(implied) == len(target) and all(a in (b, -1) for a, b in zip(implied, target, strict=True))


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = list(shape)
    while len(kept) > 2 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)
