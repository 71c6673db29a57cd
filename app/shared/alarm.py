"""The time limit of a job: RQ's alarm, which stands while the job waits for storage or Redis that is away."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def standing() -> Iterator[None]:
    """Stop the alarm that ends a job which takes too long, and let it go on with what was left; waits may nest."""
    if current_thread() is not main_thread():
        yield
        return
    left_s, again_s = signal.setitimer(signal.ITIMER_REAL, 0)  # RQ's `signal.alarm` is the same one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left_s, again_s)
