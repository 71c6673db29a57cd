"""The RQ worker that inspects uploads: it forks for every one."""

import os
import signal
from collections.abc import Callable

import structlog
from rq.timeouts import UnixSignalDeathPenalty

from app.shared.settings import BadSettings
from workers.dispatch.sweeping_worker import SweepingWorker

log = structlog.get_logger()


class IntakeWorker(SweepingWorker):
    """RQ's forking worker: a file that brings its inspection down takes only a fork with it.

    Object storage is used in forks alone: it runs threads of its own, and a fork of a process that has them waits for
    ever for threads that are not there.
    """

    def claim(self) -> None:
        """Claim in a fork."""
        self._in_fork(super().claim)

    def sweep(self) -> None:
        """Sweep in a fork."""
        self._in_fork(super().sweep)

    def _in_fork(self, call: Callable[[], None]) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self.setup_work_horse_signals()
                call()
            except BadSettings as error:
                os.write(write, str(error).encode())
            except BaseException:  # the end of a process: nothing may return into the parent's loop
                log.exception("sweep_failed")
            finally:
                os._exit(os.EX_OK)
        os.close(write)
        with os.fdopen(read, "rb") as told:
            wrong = told.read().decode()
        os.waitpid(pid, 0)
        if wrong:
            raise BadSettings(wrong)

    def setup_work_horse_signals(self) -> None:
        """Let the fork die with its worker's process group, and of nothing else from the keyboard."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.death_penalty_class = UnixSignalDeathPenalty
