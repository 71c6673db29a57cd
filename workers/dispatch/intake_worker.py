"""The RQ worker that inspects uploads: it forks for every one, so a file that breaks its inspection ends a fork."""

import os
import signal
import traceback
from collections.abc import Callable

from rq import Queue
from rq.job import Job
from rq.timeouts import UnixSignalDeathPenalty

from app.shared.settings import BadSettings
from workers.dispatch.sweeping_worker import SweepingWorker

WRONG, FAILED = b"w", b"f"  # what a fork writes first: settings are wrong, or anything else went wrong


class ForkFailed(Exception):
    """What was done in a fork failed; the message is its traceback."""


class IntakeWorker(SweepingWorker):
    """RQ's forking worker.

    Object storage is used in forks alone: it runs threads of its own, and a fork of a process that has them waits for
    ever for threads that are not there.
    """

    before_fork: Callable[[], None] = staticmethod(lambda: None)  # has ready what forks have needed until now

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork as RQ does, with what forks need again in the memory that they share."""
        self.before_fork()
        super().fork_work_horse(job, queue)

    def claim(self) -> None:
        """Claim in a fork."""
        _in_fork(super().claim, self.setup_work_horse_signals)

    def sweep(self) -> None:
        """Sweep in a fork."""
        _in_fork(super().sweep, self.setup_work_horse_signals)

    def setup_work_horse_signals(self) -> None:
        """Let the fork die with its worker's process group, and of nothing else from the keyboard."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.death_penalty_class = UnixSignalDeathPenalty


def _in_fork(call: Callable[[], None], prepare: Callable[[], None]) -> None:
    """Call in a fork and wait for it; raises BadSettings as the call does, and ForkFailed for anything else."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            call()
        except BadSettings as error:
            os.write(write, WRONG + str(error).encode())
        except BaseException:  # noqa: BLE001  # the end of a process: nothing may return into the parent's loop
            os.write(write, FAILED + traceback.format_exc().encode())
        finally:
            os._exit(os.EX_OK)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        kind, message = pipe.read(1), pipe.read().decode()
    os.waitpid(pid, 0)
    if kind == WRONG:
        raise BadSettings(message)
    if kind == FAILED:
        raise ForkFailed(message)
