"""For how long something has not changed, by this process's own clock: no step of the system's clock can move that.

Whoever lives changes a value in Redis at every heartbeat; whoever looks for the dead compares what it sees with what it
saw. Times that others wrote, and Redis' own expiry, go by the system's clock: set back by an hour, they are an hour
late.
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")


class Watch(Generic[K]):
    """Remembers what it saw at the last look, and for how long it had been so."""

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """most_s: of silence that one look may add: Redis may have been away since the last, and nobody could speak."""
        self._most_s = most_s
        self._clock = clock
        self._looked = clock()
        self._seen: dict[K, tuple[object, float]] = {}

    def silent(self, values: Mapping[K, object], for_s: float) -> Collection[K]:
        """Those of the values that have been the same for at least so many seconds."""
        now = self._clock()
        more = min(now - self._looked, self._most_s)
        self._looked, before = now, self._seen
        self._seen = {
            name: (value, before[name][1] + more if name in before and before[name][0] == value else 0.0)
            for name, value in values.items()
        }
        return [name for name, (_, silence) in self._seen.items() if silence >= for_s]
