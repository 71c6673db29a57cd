"""Milliseconds of a generation by what they went to, and those for which its device worked on it."""

import time
from collections.abc import Callable

from app.shared import tracing

DEVICE = ("swap", "sample")  # laps in which the device works: in others a picture is read, written or waited for


class Clock:
    """Milliseconds by name, each lap since the one before; now: nanoseconds of a clock that only goes forward."""

    def __init__(self, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self.laps: dict[str, float] = {"load": 0.0, "swap": 0.0, "sample": 0.0, "store": 0.0}
        self._now = now
        self._last = now()
        self._working = False  # whether what goes on since then is the device's

    def lap(self, name: str, then_works: bool = True) -> None:
        """End a lap; then_works: whether the device works in what follows."""
        now, wall = self._now(), time.time_ns()
        self.laps[name] += (now - self._last) / 1e6
        tracing.past(name, wall - (now - self._last), wall)
        self._last, self._working = now, then_works

    @property
    def device_ms(self) -> float:
        """For how long the device has worked on it, up to now."""
        going_on = (self._now() - self._last) / 1e6 if self._working else 0.0
        return sum(self.laps[name] for name in DEVICE) + going_on
