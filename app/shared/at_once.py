"""Code that may not wait: on an event loop, what storage or Redis must be asked for is left to a thread.

What such code needs is handed to it, or kept in memory; where it would wait after all, it is stopped, and whoever runs
it takes the way that may wait. So nothing has to be known twice of what a judgement asks for.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ERRAND_S = 1.0
_forbidden: ContextVar[bool] = ContextVar("waiting is forbidden", default=False)


class WouldWait(Exception):
    """Something is not at hand."""


@contextmanager
def at_once() -> Iterator[None]:
    """Raise WouldWait from whatever within would wait for storage or Redis."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


class Errands:
    """What somebody has been sent to look for a moment ago: whoever may not wait makes do with what was known."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def under_way(self, what: str) -> bool:
        """Whether the caller may not wait, and another looks; where it is the first, it is who will be sent."""
        if not _forbidden.get():
            return False
        now = time.monotonic()
        if now < self._until.get(what, 0.0):
            return True
        self._until = {one: until for one, until in self._until.items() if now < until} | {what: now + ERRAND_S}
        return False


def about_to_wait() -> None:
    """Called wherever something is waited for."""
    if _forbidden.get():
        raise WouldWait
