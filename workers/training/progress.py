"""What a training tells while it runs; clocks are here alone, and decide nothing."""

import time
from collections import deque
from dataclasses import dataclass
from statistics import median

from PIL.Image import Image

from workers.training.plan import Sample

RECENT = 20  # steps whose median says how long the rest takes


@dataclass(frozen=True)
class Encoded:
    """So many pictures are encoded, of how many."""

    done: int
    of: int


@dataclass(frozen=True)
class Progress:
    """A step was made. remaining: seconds, by the median of the steps before it, without what is between them.

    None after the first step of a process, which takes longer than the others.
    """

    step: int
    steps: int
    loss: float
    seconds: float  # of a step
    images: float  # a second
    remaining: float | None


@dataclass(frozen=True)
class Saved:
    """A checkpoint was published."""

    step: int
    key: str


@dataclass(frozen=True)
class Restored:
    """The checkpoint after this step is gone on with; whoever published it may have died before telling of it."""

    step: int


@dataclass(frozen=True)
class Sampled:
    """A sample was drawn after so many steps, or could not be (then `failed` says why, and the training goes on)."""

    step: int
    sample: Sample
    image: Image | None
    failed: str | None = None


@dataclass(frozen=True)
class Note:
    """Something to know about the training, one sentence."""

    text: str


Event = Encoded | Progress | Saved | Restored | Sampled | Note


class Pace:
    """How long steps take."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._begun = 0.0
        self._warm = False  # the first step is not one like the others

    def begin(self) -> None:
        """Begin a step."""
        self._begun = time.perf_counter()

    def made(self, step: int, steps: int, loss: float, pictures: int) -> Progress:
        """Return the progress after a step."""
        seconds = time.perf_counter() - self._begun
        if self._warm:
            self._recent.append(seconds)
            seconds = median(self._recent)
        remaining = (steps - step) * seconds if self._warm else None
        self._warm = True
        return Progress(step, steps, loss, seconds, pictures / max(seconds, 1e-9), remaining)
