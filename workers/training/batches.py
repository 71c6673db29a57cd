"""Which pictures each batch has: every picture its `repeats` times an epoch, in another order each, by the seed alone.

A batch has pictures of one size; the last of a size may be short, and comes at the end of its epoch.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache

import torch

from workers.training.chance import generator


class Batches:
    """An endless row of batches; batch i is a function of the seed and i.

    sizes: of each picture, whatever tells sizes apart. repeats: how often each is shown in an epoch.
    """

    def __init__(self, sizes: Sequence[Hashable], repeats: Sequence[int], batch_size: int, seed: int) -> None:
        self._seed = seed
        self._batch_size = batch_size
        self._shown = [picture for picture, times in enumerate(repeats) for _ in range(times)]
        self._sizes = sizes
        counts = Counter(sizes[picture] for picture in self._shown)
        self.length = sum(-(-count // batch_size) for count in counts.values())
        self._epoch = lru_cache(maxsize=2)(self._made)

    @property
    def pictures(self) -> int:
        """How many pictures an epoch shows."""
        return len(self._shown)

    def batch(self, index: int) -> list[int]:
        """Return the pictures of a batch, by number."""
        epoch, place = divmod(index, self.length)
        return self._epoch(epoch)[place]

    def seen(self, batches: int) -> int:
        """Return how many pictures so many batches show."""
        epochs, rest = divmod(batches, self.length)
        return epochs * self.pictures + sum(len(self.batch(epochs * self.length + at)) for at in range(rest))

    def _made(self, epoch: int) -> list[list[int]]:
        chance = generator(self._seed, "epoch", epoch)
        order = torch.randperm(len(self._shown), generator=chance).tolist()
        rows: dict[Hashable, list[int]] = {}
        for at in order:
            rows.setdefault(self._sizes[self._shown[at]], []).append(self._shown[at])
        size = self._batch_size
        found = [row[start : start + size] for row in rows.values() for start in range(0, len(row), size)]
        places = torch.randperm(len(found), generator=chance).tolist()
        return sorted((found[at] for at in places), key=lambda batch: len(batch) < size)  # the order of the rest stays
