"""C3A: a change made of circulant blocks, each given by its first row."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.algorithms.change import Change


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class C3A(Change):
    """W₀ + s·C/i, where block (m, n) of C is C[p, q] = k[m, n, (q − p) mod b].

    Chen et al., *Parameter-Efficient Fine-Tuning via Circular Convolution*, 2024 (arXiv 2407.19342), as PEFT
    `C3AConfig` writes it.
    """

    c3a_kernel: Tensor  # (o/b, i/b, b)

    SUFFIXES: ClassVar = {"c3a_kernel": "c3a_kernel"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        _, columns, size = self.c3a_kernel.shape
        shift = torch.arange(size, device=change.device)
        blocks = self.c3a_kernel.to(change)[:, :, (shift[None, :] - shift[:, None]) % size]  # (m, n, p, q)
        whole = blocks.permute(0, 2, 1, 3).reshape(change.shape)
        change.add_(whole, alpha=strength / (columns * size))

    @property
    def name(self) -> str:
        return "c3a"

    @property
    def shape(self) -> tuple[int, ...]:
        rows, columns, size = self.c3a_kernel.shape
        return (rows * size, columns * size)

    def problems(self) -> Iterator[str]:
        if self.c3a_kernel.ndim != 3:
            yield f"c3a_kernel {tuple(self.c3a_kernel.shape)} is not (o/b, i/b, b)"
