"""The generation worker's handle on its engine: a child process that holds the model and does job after job.

Parent and child (`workers/dispatch/engine_main.py`) exchange lines of JSON over two pipes: orders
`{"job", "execution", "queue"}` one way, and to each a reply `{"done", "base", "active", "resident"}` the other way: the
fingerprint of the base, the sha256 of the adapters that are on the model, and of those in its memory. An empty order is
answered when the model is loaded. When the parent dies its end of the pipe closes, and the engine ends at once. Told to
end (SIGTERM), it puts back what it draws or was given while it loads, answers that order (without a base, where it has
none yet), and ends with status 0: no order that it left unanswered was begun.
"""

import contextlib
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import termios
from typing import Any

from rq.executions import Execution
from rq.job import Job

NOT_LOADED = os.EX_DATAERR  # exit status of an engine that could not load its model, as its last line says


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
        self._send({"job": job.id, "execution": execution.id, "queue": queue_name})

    def greet(self) -> None:
        """Have it reply as soon as its model is loaded; raises BrokenPipeError when the engine is dead."""
        self._send({})

    def _send(self, order: dict[str, str]) -> None:
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()

    def wait(self, seconds: float | None = None) -> bool | None:
        """Wait until the order is done; False when the engine died instead, None when that many seconds have passed.

        The reply is left in the pipe for `reply`: waiting again sees it again.
        """
        if not select.select([self._replies], [], [], seconds)[0]:
            return None
        (unread,) = struct.unpack("i", fcntl.ioctl(self._replies, termios.FIONREAD, bytes(struct.calcsize("i"))))
        return unread > 0

    def reply(self) -> dict[str, Any] | None:
        """Read its reply, once for each order and after `wait`; None when it died instead."""
        text = b""
        while not text.endswith(b"\n"):
            part = os.read(self._replies, 65536)
            if not part:
                return None
            text += part
        return json.loads(text)

    def status(self) -> int:
        """Wait status of a dead engine, as `os.wait` gives it."""
        code = self._process.wait()
        return -code if code < 0 else code << 8

    def leave(self) -> None:
        """Have it put back what it draws, after the step that it is making."""
        self._process.terminate()

    def close(self) -> None:
        """End it, by closing its pipe and then, if need be, by force."""
        with contextlib.suppress(BrokenPipeError):  # an order that a dead engine did not read
            self._orders.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._replies)
