"""A fork ends where its limits are, whatever library it is in."""

import os
import signal
import zlib
from collections.abc import Callable

import pytest

from workers.limits import limit_memory, limit_time


def end_of(act: Callable[[], None]) -> int:
    """Status of a fork that does this."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except MemoryError:
            os._exit(7)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def too_long() -> None:
    limit_time(0)
    while True:
        zlib.compress(bytes(1 << 24))  # C, which no exception of Python's ends


def too_much() -> None:
    limit_memory(1 << 28)
    bytearray(1 << 29)


@pytest.mark.parametrize(("act", "ends"), [(too_long, -signal.SIGKILL), (too_much, 7)])
def test_a_fork_ends_where_its_limits_are(act: Callable[[], None], ends: int) -> None:
    assert end_of(act) in (ends, -signal.SIGXCPU if ends < 0 else ends)
