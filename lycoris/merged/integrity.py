"""Checks of law 2: whether pristine weights are still the same bits, a little at a time or all at once."""

import time
from collections import deque
from collections.abc import Container, Hashable, Mapping
from math import inf

from torch import Tensor, nn

from lycoris.kernels.checksum import checksum
from lycoris.kernels.row_blocks import blocks
from lycoris.kernels.stored import storage
from lycoris.merged.pristine import Backup


class Checksums:
    """The checksum of every block of some weights: of those ever patched, taken before, or of others, to watch them."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Hashable, Backup, int, int, int]] = deque()  # key, backup, first row, end, checksum

    def add(self, key: Hashable, backup: Backup) -> None:
        """Take the checksums of a weight that was just backed up."""
        self._queue += (
            (key, backup, start, stop, backup.checksum(start, stop)) for start, stop in blocks(backup.live.shape)
        )

    def watch(self, component: str, parameter: str, weight: Tensor) -> None:
        """Take the checksums of a weight that nothing is ever written into, over the tensors that store it."""
        for number, part in enumerate(storage(weight)):
            part = part if part.ndim else part.view(1)
            self.add((component, parameter, number), Backup(component, parameter, part, part, "device", inf))

    def forget(self, keys: Container[Hashable]) -> None:
        """Drop the checksums of some weights."""
        self._queue = deque(each for each in self._queue if each[0] not in keys)

    def verify(self, patched: Container[Hashable], seconds: float = inf) -> list[str]:
        """Return the names of weights that fail their checksum: the backup changed, or an unpatched weight differs.

        seconds: stop after this time, but after one block at the earliest; the next call continues there. No call
        checks a block twice. patched: keys of weights that may differ from their backup.
        """
        wrong: dict[str, None] = {}
        end = time.perf_counter() + seconds
        for _ in range(len(self._queue)):
            key, backup, start, stop, expected = self._queue[0]
            self._queue.rotate(-1)
            sound = backup.checksum(start, stop) == expected
            if sound and key not in patched and backup.live is not backup.pristine:
                sound = checksum(backup.live[start:stop]) == expected
            if not sound:
                wrong[backup.name] = None
            if time.perf_counter() >= end:
                break
        return list(wrong)


def bits_of(components: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the checksums of all parameters and buffers by name, of quantised ones as they are stored."""
    return {
        f"{component}.{name}": tuple(checksum(part) for part in storage(weight))
        for component, module in components.items()
        for named in (module.named_parameters, module.named_buffers)
        for name, weight in named(remove_duplicate=False)
    }
