"""Code that may not wait: on an event loop, what storage or Redis must be asked for is left to a thread.

What such code needs is handed to it, or kept in memory; where it would wait after all, it is stopped, and whoever runs
it takes the way that may wait. So nothing has to be known twice of what a judgement asks for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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


def about_to_wait() -> None:
    """Called wherever something is waited for."""
    if _forbidden.get():
        raise WouldWait
