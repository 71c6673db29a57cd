"""The process that holds the model: a child of the generation worker that lives on from job to job.

Parent and child talk over two pipes in lines of JSON: orders `{"job", "execution", "queue"}` one way, to each a reply
`{"done"}` the other; an empty order is a greeting, answered when the model is loaded. When the parent dies its end of
the pipe closes, and the engine goes at once.
"""

import contextlib
import fcntl
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from typing import IO, Any

import structlog
from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job

from app.shared.queue import SERIALIZER, connect, forget_dead_executions
from app.shared.settings import Settings

log = structlog.get_logger()


class EngineProcess:
    """The parent's handle on its engine."""

    def __init__(self, model: str, worker_name: str) -> None:
        orders_read, orders_write = os.pipe()
        replies_read, replies_write = os.pipe()
        command = [sys.executable, "-m", "workers", "engine", model, worker_name, str(orders_read), str(replies_write)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(orders_read, replies_write), process_group=0
        )
        os.close(orders_read)
        os.close(replies_write)
        self._orders = os.fdopen(orders_write, "w")
        self._replies = replies_read

    @property
    def pid(self) -> int:
        """Process id; also that of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def order(self, job: Job, execution: Execution, queue_name: str) -> None:
        """Have a job done; raises BrokenPipeError when the engine is dead."""
        self._give({"job": job.id, "execution": execution.id, "queue": queue_name})

    def greet(self) -> None:
        """Have it answer as soon as its model is loaded; raises BrokenPipeError when the engine is dead."""
        self._give({})

    def _give(self, order: dict[str, str]) -> None:
        while select.select([self._replies], [], [], 0)[0] and os.read(self._replies, 4096):
            pass  # what it answered before
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()

    def wait(self) -> bool:
        """Wait until the order is done; False when the engine died instead.

        RQ's alarm interrupts this wait, at any point, to send heartbeats: so the answer is looked at and left where it
        is, and waiting again sees it again.
        """
        select.select([self._replies], [], [])
        (unread,) = struct.unpack("i", fcntl.ioctl(self._replies, termios.FIONREAD, bytes(struct.calcsize("i"))))
        return unread > 0

    def status(self) -> int:
        """Wait status of a dead engine, as `os.wait` gives it."""
        code = self._process.wait()
        return -code if code < 0 else code << 8

    def close(self) -> None:
        """End it, by closing its pipe and then, if need be, by force."""
        with contextlib.suppress(BrokenPipeError):  # an order that a dead engine did not take
            self._orders.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._replies)


def main(model: str, worker_name: str, orders_fd: int, replies_fd: int, settings: Settings) -> None:
    """Load the model, then do what the parent orders, until it closes the pipe."""
    orders: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(orders_fd), orders), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    replies = os.fdopen(replies_fd, "w")
    redis = connect(settings, patient=True)
    _load(model, redis, settings)
    while True:
        order = orders.get()
        if order:
            _perform(order, worker_name, redis, settings)
        _say(replies, {"done": order.get("job")})


def _listen(source: IO[str], orders: "queue.SimpleQueue[dict[str, str]]") -> None:
    for line in source:
        orders.put(json.loads(line))
    os._exit(0)  # the parent is gone: nobody waits for what is being drawn


def _say(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _load(model: str, redis: Redis, settings: Settings) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
    from app.shared.profiles import Profiles
    from app.shared.storage import Storage
    from workers import tasks
    from workers.engine import Engine
    from workers.intake import Intake
    from workers.models.loading import load

    storage = Storage(settings.store_url)
    base = load(model, settings)
    Profiles(storage, settings).publish(base.profile, base.shapes())
    Intake(storage, redis, settings).publish_bundled(base.folder / "adapters")
    tasks.hold_engine(Engine(base, storage, redis, settings))


def _perform(order: dict[str, str], worker_name: str, redis: Redis, settings: Settings) -> None:
    """Do one job the way RQ's own work horse does, in this lasting process."""
    from workers.worker import GenerationWorker

    try:
        job = Job.fetch(order["job"], connection=redis, serializer=SERIALIZER)
    except NoSuchJobError:
        return  # canceled on its way here
    execution = Execution(order["execution"], job.id, redis, worker_name)
    forget_dead_executions(job)
    source = Queue(order["queue"], connection=redis, serializer=SERIALIZER)
    horse = GenerationWorker(settings, [source], worker_name, redis, as_horse=True)
    horse.perform_job(job, source, execution)
