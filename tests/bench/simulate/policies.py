"""Ways to queue: in order of arrival or by affinity (both the worker's own `choose`), and a queue for each stack."""

from bisect import bisect_right
from collections import deque
from collections.abc import Set
from heapq import heappop, heappush
from typing import Protocol

from workers.dispatch.affinity_policy import Limits, Waiting, choose


class Policy(Protocol):
    """Generations of one base that wait, by the number under which they came."""

    def add(self, job: int, adapters: frozenset[str], owner: str = "") -> None:
        """Let a generation wait."""
        ...

    def take(self, active: Set[str], resident: Set[str], now: float) -> int:
        """The one that a worker draws next; asked only while some wait."""
        ...

    def __len__(self) -> int: ...


class Turns:
    """The slow twin of `app/shared/turns.py`: where in a queue an owner's job belongs."""

    def __init__(self) -> None:
        self.of: list[int] = []  # the jobs, in their order
        self._last: dict[str, int] = {}  # by owner

    def place(self, owner: str) -> int:
        """How many are before a new job, which stands there now."""
        if not self.of:
            self._last.clear()
        turn = max(self.of[0], min(self._last.get(owner, 0), self.of[-1]) + 1) if self.of else 1
        place = bisect_right(self.of, turn)
        self.of.insert(place, turn)
        self._last[owner] = turn
        return place


class Chosen:
    """One queue, out of which each worker takes what `choose` says; with a window of 1, first come, first served.

    Several owners stand in it in turns.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: list[int] = []
        self._waiting: list[Waiting] = []
        self._turns = Turns()

    def add(self, job: int, adapters: frozenset[str], owner: str = "") -> None:
        """Let a generation wait."""
        place = self._turns.place(owner)
        self._jobs.insert(place, job)
        self._waiting.insert(place, Waiting(adapters))

    def take(self, active: Set[str], resident: Set[str], now: float) -> int:
        """The one that a worker draws next; those before it are counted, as the script in Redis does."""
        index = choose(self._waiting[: self._limits.window], active, resident, self._limits, now)
        for place in range(index):
            one = self._waiting[place]
            since = now if one.passed_since is None else one.passed_since
            self._waiting[place] = Waiting(one.adapters, one.passed + 1, since)
        del self._waiting[index], self._turns.of[index]
        return self._jobs.pop(index)

    def __len__(self) -> int:
        return len(self._jobs)


class PerStack:
    """A queue for each stack: a worker empties that of its active stack, then goes where one waits longest."""

    def __init__(self) -> None:
        self._queues: dict[frozenset[str], deque[int]] = {}
        self._heads: list[tuple[int, frozenset[str]]] = []
        self._count = 0

    def add(self, job: int, adapters: frozenset[str], owner: str = "") -> None:
        """Let a generation wait."""
        queue = self._queues.setdefault(adapters, deque())
        if not queue:
            heappush(self._heads, (job, adapters))
        queue.append(job)
        self._count += 1

    def take(self, active: Set[str], resident: Set[str], now: float) -> int:
        """The one that a worker draws next."""
        adapters = frozenset(active)
        if not self._queues.get(adapters):
            while True:
                job, adapters = heappop(self._heads)
                queue = self._queues[adapters]
                if queue and queue[0] == job:
                    break
        queue = self._queues[adapters]
        job = queue.popleft()
        if queue:
            heappush(self._heads, (queue[0], adapters))
        self._count -= 1
        return job

    def __len__(self) -> int:
        return self._count
