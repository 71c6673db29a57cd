"""Processes that go when their supervisor goes, even when it was killed with -9.

The supervisor holds one end of a pipe that is its child's standard input; the child watches the other end. A pipe
closes with its process, on every system, whatever ended it.
"""

import os
import signal
import threading
import time

VARIABLE = "RADIATA_EXIT_WITH_PARENT"  # set by the supervisor: standard input is the pipe
GRACE_S = 5.0


def supervised() -> bool:
    """Tell whether a supervisor has started this process, and tells its user what is ready."""
    return bool(os.environ.get(VARIABLE))


def watch_parent() -> None:
    """Stop this process soon after its supervisor has gone; without a supervisor, do nothing."""
    if supervised():
        threading.Thread(target=_watch, name="exit-with-parent", daemon=True).start()


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)
