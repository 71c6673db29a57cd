"""Products in full float32, whatever the program around them has set."""

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def exact_float32(devices: Iterable[str]) -> Generator[None]:
    """Disable autocast on these types of device, and TF32: both would round products to ten bits or fewer."""
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        for device in devices:
            stack.enter_context(torch.autocast(device, enabled=False))
        torch.set_float32_matmul_precision("highest")
        stack.callback(torch.set_float32_matmul_precision, before)
        yield
