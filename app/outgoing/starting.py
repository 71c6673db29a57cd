"""Generations that had to be begun by some time (`start_within_s`), and were not."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from app.shared.errors import Unreadable
from app.shared.generations import Ledger
from app.shared.lifecycle import now

KIND = "start"
SLACK_S = 0.1


class Starting:
    """Fails one at a call, where it was not begun."""

    most = share = 4

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, bool] = {}  # of those that wait: whether each has such a time, and it is not over

    def pending(self) -> Iterable[str]:
        """All that have such a time, each record of those that wait being read once."""
        self._known = {one: self._has_time(one) for one in self._ledger.records.waiting()}
        return [one for one, has_time in self._known.items() if has_time]

    def _has_time(self, generation_id: str) -> bool:
        if generation_id in self._known:
            return self._known[generation_id]
        with suppress(Unreadable):
            accepted = self._ledger.records.pending(generation_id)
            return accepted is not None and accepted.generation.start_by is not None
        return False

    def owner(self, task_id: str) -> str:
        """Nobody's: none takes longer than another."""
        return ""

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Fail a generation whose time is over; seconds until then, or None."""
        accepted = self._ledger.records.pending(task_id)
        if accepted is None or accepted.generation.start_by is None:
            return None
        left = (accepted.generation.start_by - now()).total_seconds()
        if left > 0:
            return left + SLACK_S
        if self._ledger.too_late_to_start(accepted, now()):
            self._ledger.queues.drop(task_id)
        self._known[task_id] = False
        return None
