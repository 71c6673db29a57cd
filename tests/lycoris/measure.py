"""How the tests compare tensors: the largest difference is always printed, bits are compared as bits."""

import torch
from torch import Tensor

from tests.tolerances import RELATIVE


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest number expected."""
    largest = expected.double().abs().max().item() or 1.0
    return (actual.double() - expected.double()).abs().max().item() / largest


def assert_close(actual: Tensor, expected: Tensor, what: str, dtype: torch.dtype | None = None) -> float:
    """Assert that two tensors agree as well as the dtype (that of `actual`, if not given) allows; return the error."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} against {tuple(expected.shape)}"
    error = relative_error(actual, expected)
    allowed = RELATIVE[str(dtype or actual.dtype).removeprefix("torch.")]
    print(f"{what}: largest difference {error:.2e} of {allowed:.0e}")
    assert error <= allowed, f"{what}: largest difference {error:.2e}, allowed {allowed:.0e}"
    return error


def bits(tensor: Tensor) -> bytes:
    """Return the tensor's bits: minus zero and NaN count as what they are."""
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def bits_of(*modules: torch.nn.Module) -> dict[str, bytes]:
    """Return the bits of every parameter of the modules."""
    return {f"{k}.{name}": bits(p) for k, module in enumerate(modules) for name, p in module.named_parameters()}
