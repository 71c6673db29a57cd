"""Law 2, looked after: whether what is kept as pristine still is what it was, a little at a time or all at once."""

import math
import time
from collections import deque
from collections.abc import Container, Hashable

from lycoris.kernels.checksum import checksum
from lycoris.kernels.row_blocks import blocks
from lycoris.merged.pristine import Kept


class Watch:
    """Goes round the blocks of the weights that were touched, each with its checksum from when it was."""

    def __init__(self) -> None:
        self._round: deque[tuple[Hashable, Kept, int, int, int]] = deque()  # key, kept, first row, last row, checksum

    def add(self, key: Hashable, kept: Kept) -> None:
        """Look after a weight, which is as it was when it was kept."""
        self._round += ((key, kept, start, stop, kept.sum(start, stop)) for start, stop in blocks(kept.live.shape))

    def forget(self, keys: Container[Hashable]) -> None:
        """Look after some weights no more."""
        self._round = deque(each for each in self._round if each[0] not in keys)

    def verify(self, dressed: Container[Hashable], seconds: float = math.inf) -> list[str]:
        """Return the names of weights that are not what they were, of as many blocks as that time is enough for.

        Goes on where it stopped the last time, and looks at least at one block and at none twice. dressed: weights that
        may be something else now; of the others the live ones are looked at too.
        """
        wrong: dict[str, None] = {}
        end = time.perf_counter() + seconds
        for _ in range(len(self._round)):
            key, kept, start, stop, expected = self._round[0]
            self._round.rotate(-1)
            sound = kept.sum(start, stop) == expected
            if sound and key not in dressed:
                sound = checksum(kept.live[start:stop]) == expected
            if not sound:
                wrong[kept.name] = None
            if time.perf_counter() >= end:
                break
        return list(wrong)
