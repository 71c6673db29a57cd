"""Which of the waiting generations a worker should draw next: affinity with bounded unfairness.

A pure function: the worker (`workers/dispatch/affinity.py`) and the simulator (`tests/bench/simulate/`) both call it.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from app.shared.metrics import FITS


@dataclass(frozen=True)
class Limits:
    """How unfair a choice may be.

    window: of how many generations at the front of the queue one is chosen; 1 is first come, first served.
    passes: how often a generation may be passed over.
    wait_s: for how many seconds it may be passed over, counted from the first time. Counted from its arrival, all of a
    long queue would be due, where affinity gains most.
    """

    window: int
    passes: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A generation in the queue: the facts that the choice depends on.

    adapters: sha256 of those that it asks for.
    passed: how often one that stood behind it was taken.
    passed_since: when that happened first, in seconds of any clock; None when it never did.
    first: it may not be passed over at all, as one that is tried again after its engine died.
    """

    adapters: frozenset[str]
    passed: int = 0
    passed_since: float | None = None
    first: bool = False

    def due(self, limits: Limits, now: float) -> bool:
        """Whether none behind it may be taken before it any more."""
        waited = 0.0 if self.passed_since is None else abs(now - self.passed_since)  # the clock may have been set
        return self.first or self.passed >= limits.passes or waited >= limits.wait_s


def choose(waiting: Sequence[Waiting], active: Set[str], resident: Set[str], limits: Limits, now: float) -> int:
    """Index of the generation to draw next, of those `waiting` in the order of the queue; raises IndexError for none.

    The foremost that is due or asks for just the active adapters. If there is none: one that asks for some of them
    alone or for more than them, else one whose adapters are all resident, else the head; of equals the foremost. So
    none that is due is passed over.

    active, resident: sha256 of the adapters that are on the model now, and of those in the worker's memory.
    now: seconds, by the clock of `passed_since`.
    """
    best, best_rank = 0, _rank(waiting[0].adapters, active, resident)
    for index, one in enumerate(waiting[: limits.window]):
        if one.adapters == active or one.due(limits, now):
            return index
        if (rank := _rank(one.adapters, active, resident)) < best_rank:
            best, best_rank = index, rank
    return best


def fit(adapters: Set[str], active: Set[str], resident: Set[str]) -> str:
    """How well a generation fits what a worker's engine has, as a word of `FITS`."""
    return FITS[0 if adapters == active else _rank(adapters, active, resident)]


def _rank(adapters: Set[str], active: Set[str], resident: Set[str]) -> int:
    if adapters and active and (adapters < active or adapters > active):  # the empty set is a part of every one
        return 1
    return 2 if adapters <= resident else 3
