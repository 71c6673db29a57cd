"""What the tiers of the adapter cache did, added up by whichever thread did it, until the engine tells."""

from collections import defaultdict
from threading import Lock

from app.shared.metrics import of_tier


class Counters:
    """Amounts by name, for threads to add to."""

    def __init__(self) -> None:
        self._amounts: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()

    def add(self, **amounts: float) -> None:
        """Add to figures, by their names."""
        with self._lock:
            for name, amount in amounts.items():
                self._amounts[name] += amount

    def add_to_tier(self, tier: str, **amounts: float) -> None:
        """Add to the figures of one tier."""
        self.add(**{of_tier(figure, tier): amount for figure, amount in amounts.items()})

    def take(self) -> dict[str, float]:
        """Return everything, and begin anew."""
        with self._lock:
            taken, self._amounts = self._amounts, defaultdict(float)
        return dict(taken)
