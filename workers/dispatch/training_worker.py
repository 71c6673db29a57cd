"""The RQ worker that trains: each training runs in a process of its own, which gives back all its memory when it ends.

So a worker that waits holds no model, and one that trains leaves its niceness and its threads to nobody.
"""

import os
import platform
import subprocess
import sys
from typing import Any

import structlog
from redis.client import Pipeline
from rq import Queue
from rq.job import Job

from app.shared.exit_with_parent import VARIABLE
from app.shared.trainings import trainers_of
from app.shared.worker_state import tell_alive
from workers.dispatch.sweeping_worker import SweepingWorker

log = structlog.get_logger()

# What glibc reads when a process starts. By itself it gives the buffers of a step back to the system, and takes them
# again in the next one, page by page. 32 MiB is the most that every version takes for the first.
KEEPS_BUFFERS = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(2 << 30)}


class TrainingWorker(SweepingWorker):
    """Starts a process for every training; when that dies, the training goes on from its last checkpoint in a new one.

    The process (`workers/training/service.py`) ends with this one: its standard input is a pipe that closes then.
    """

    _process: "subprocess.Popen[bytes] | None" = None

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Start the process of a training (RQ's seam for starting a work horse)."""
        execution = self.execution
        assert execution is not None
        command = [sys.executable, "-m", "workers.training", "serve", queue.name, job.id, execution.id, self.name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environment(), process_group=0)
        self._horse_pid = self._process.pid

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that it lives, and for which models."""
        super().heartbeat(timeout, pipeline)
        redis = self.connection if pipeline is None else pipeline
        for model in self._settings.models:
            tell_alive(redis, trainers_of(model), "", self._settings.accept_without_worker_s)

    def handle_warm_shutdown_request(self) -> None:
        """Have the training save a checkpoint and put itself back: nobody waits hours for its end."""
        super().handle_warm_shutdown_request()
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def horse_ended(self, seconds: float) -> tuple[int, int, Any] | None:
        """Wait until the training has ended or its process died; None when that many seconds have passed."""
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        assert self._process.stdin is not None
        self._process.stdin.close()
        if code and not self._stop_requested:
            log.warning("training_process_died", pid=self._process.pid, status=code)
        return self._process.pid, -code if code < 0 else code << 8, None


def _environment() -> dict[str, str]:
    kept = KEEPS_BUFFERS if platform.libc_ver()[0] == "glibc" else {}
    return {**kept, **os.environ, VARIABLE: "1"}
