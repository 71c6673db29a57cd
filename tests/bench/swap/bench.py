"""The arguments of every part of the benchmark: how much to measure, on which model, and a folder for files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.bench.figures import Figure
from tests.bench.swap.subjects import Subject, subject

Tick = Callable[[str], None]


class Missing(Exception):
    """A peer cannot be measured here; the message is the sentence for the table."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark on one model."""

    model: str
    folder: Path  # for adapter files, thrown away at the end
    device: str
    dtype: torch.dtype
    rounds: int
    families: tuple[str, ...]
    step_rounds: int
    latent: int
    swaps: int  # of drift
    soak: int
    profiled: bool
    tick: Tick

    def subject(self, twin: bool = True) -> Subject:
        """The model, fresh. Whoever asks drops it at the end: two do not fit a small machine."""
        return subject(self.model, self.device, self.dtype, twin)


Part = Callable[[Bench], Iterator[Figure]]
