"""Whose task is next: of what is due, an owner's of whom the fewest are being done, and of none more than a share."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import lru_cache

WINDOW = 100  # tasks that are looked at once
KNOWN = 10 * WINDOW  # whose owners are kept


class Shares:
    """Chooses among tasks of one kind; whose: gives the owner of a task; share: tasks of one owner at once."""

    def __init__(self, whose: Callable[[str], str], share: int) -> None:
        self._whose, self._share = lru_cache(KNOWN)(whose), share

    def choose(self, due: Iterable[str], running: Iterable[str], room: int) -> list[str]:
        """So many of these tasks at most, in their turn; those of one owner in the order in which they are due."""
        doing = Counter(map(self._whose, running))
        waiting: dict[str, deque[str]] = {}
        for one in due:
            waiting.setdefault(self._whose(one), deque()).append(one)
        chosen: list[str] = []
        while len(chosen) < room:
            free = [owner for owner, tasks in waiting.items() if tasks and doing[owner] < self._share]
            if not free:
                break
            owner = min(free, key=doing.__getitem__)  # of several, the one whose task is due for longest
            doing[owner] += 1
            chosen.append(waiting[owner].popleft())
        return chosen
