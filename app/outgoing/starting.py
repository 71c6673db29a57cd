"""Generations that had to be begun by some time (`start_within_s`), and were not."""

from collections.abc import Callable, Iterable

from app.shared.generations import Ledger
from app.shared.lifecycle import now

KIND = "start"
SLACK_S = 0.1


class Starting:
    """Fails one at a call, where it was not begun. What Redis forgets of them the worker that takes one up finds."""

    most = 4

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pending(self) -> Iterable[str]:
        """None: it would be a look at every generation that waits."""
        return ()

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
        return None
