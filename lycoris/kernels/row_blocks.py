"""Blocks of rows of a weight, so small that the intermediate results of one stay in the processor's cache."""

from collections.abc import Iterator, Sequence
from math import prod

# Elements of a block. Measured on two cores of an AMD EPYC (0.5 MiB of L2 each, 32 MiB of L3), float32, with 2 threads
# and 1. Blocks of the size of L2 (2¹⁷) lose to the cost of starting an operation (3 to 4 × a copy for a LoRA), blocks
# beyond a share of L3 (2²²) to memory (2.2 ×); between 2¹⁹ and 2²¹ it makes no difference (2.0 ×).
BLOCK = 2**20


def blocks(shape: Sequence[int], row_multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (first row, row after the last) of every block of a weight, each first row a multiple of `row_multiple`.

    A function of the shape and the multiple alone: where a matrix is cut may decide the last bit of a product.
    """
    rows = shape[0]
    size = max(row_multiple, BLOCK // max(1, prod(shape[1:])) // row_multiple * row_multiple)
    return ((start, min(start + size, rows)) for start in range(0, rows, size))
