"""How fast to learn, and how much of a run is over: the same for every trainer, with each one's own numbers."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Run:
    """A linear warm-up of `warm_up` steps, constant for `constant` of the run, then a cosine down to `floor`.

    How long: either `steps` (repeatable to the bit) or `minutes` (the schedule follows the clock).
    """

    learning_rate: float = 1e-3
    warm_up: int = 60
    constant: float = 0.4
    floor: float = 0.02
    steps: int = 0
    minutes: float = 0.0

    def rate(self, step: int, share: float) -> float:
        """Learning rate at a step, `share` (0..1) of the run being over."""
        fall = max(0.0, (share - self.constant) / (1 - self.constant))
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * cosine

    def share(self, step: int, seconds: float) -> float:
        """How much of the run is over, 0..1."""
        return min(1.0, step / self.steps if self.steps else seconds / (self.minutes * 60))
