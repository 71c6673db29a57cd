"""`radiata up`: every process of the service on this machine, started, watched, restarted and stopped as one."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
import structlog
from pydantic import SecretStr
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Worker

from app.embedded import address
from app.http.address import listen, url_of
from app.shared.connection import url_file
from app.shared.environment import SOCKETS
from app.shared.exit_with_parent import VARIABLE
from app.shared.identity import claim_at_start
from app.shared.queue import INTAKE, generation_queue
from app.shared.redis_link import client
from app.shared.settings import WRONG_SETTINGS, BadSettings, Settings

log = structlog.get_logger()

LOOK_S = 0.1
STOP_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
WELL_S = 60.0  # a process that has lived for so long died of something else than the last time
READY_S = 300.0
REDIS_S = 20.0


class StartFailed(Exception):
    """The service did not come up; the message says which part and why."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Child:
    name: str
    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    first_pause_s: float = FIRST_PAUSE_S
    pause_s: float = field(init=False)
    started: float = field(default=0.0)
    not_before: float = 0.0
    deaths: int = field(default=0)
    inherits: Sequence[int] = ()  # descriptors that it is started with
    log: Path | None = None  # where its lines go; None: where this process's go

    def __post_init__(self) -> None:
        self.pause_s = self.first_pause_s

    def start(self) -> None:
        self.started = time.monotonic()
        # Its own session: a Ctrl-C in the terminal reaches the supervisor alone, which stops the rest in order
        with self.log.open("ab") if self.log else nullcontext() as lines:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=lines,
                stderr=lines,
                env=self.environment,
                start_new_session=True,
                pass_fds=self.inherits,
            )

    def look(self) -> None:
        """Start it again if it has died, after a pause that doubles from one death to the next that is near."""
        if self.process is None or self.process.poll() is None:
            return
        if self.not_before == 0.0:
            self.deaths += 1
            if time.monotonic() - self.started > WELL_S:
                self.pause_s = self.first_pause_s
            self.not_before = time.monotonic() + self.pause_s
            self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)
            log.warning("process_died", process=self.name, status=self.process.returncode)
        elif time.monotonic() >= self.not_before:
            self.not_before = 0.0
            self._close()
            self.start()

    def stop(self, until: float) -> None:
        """Ask it to stop; kill what it and its children left when time is up."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process and self.process.stdin:
            self.process.stdin.close()


class Service:
    """The processes of one service over one data folder; log: a file for what they say, in place of the terminal."""

    def __init__(self, settings: Settings, log: Path | None = None) -> None:
        self.settings = settings
        self._log = log
        self._children: list[_Child] = []
        self._sockets: list[socket.socket] = []
        self.url = ""
        self.redis_url = ""

    @contextmanager
    def running(self, tick: Callable[[str], None] = lambda _: None) -> Iterator["Service"]:
        """Start everything, hand over when it is ready, stop everything.

        tick: called with what is being waited for, every tenth of a second. Raises StartFailed and
        BadSettings.
        """
        with _only_one(self.settings.data_dir):
            try:
                self._start()
                self._wait_ready(tick)
                yield self
            finally:
                self._stop()

    def watch(self) -> None:
        """Look after the processes until SIGINT or SIGTERM."""
        stopping = False

        def stop(_number: int, _frame: FrameType | None) -> None:
            nonlocal stopping
            stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        while not stopping:
            self.look()
            time.sleep(LOOK_S)
        for number, handler in before.items():
            signal.signal(number, handler)

    def look(self) -> None:
        """Start again whatever has died."""
        for child in self._children:
            child.look()

    def pids(self) -> dict[str, int]:
        """Process id of every process that runs, by name."""
        return {child.name: child.process.pid for child in self._children if child.process}

    def _start(self) -> None:
        settings = self.settings
        # Held here for good: nobody else can answer there, and while the API is started again its callers wait
        self._sockets = listen(settings)
        numbers = [one.fileno() for one in self._sockets]
        port = self._sockets[0].getsockname()[1]
        self.url = url_of(settings.host, port)
        self.redis_url = settings.redis_url.get_secret_value() if settings.redis_url else ""
        environment = {**os.environ, VARIABLE: "1", "RADIATA_PORT": str(port)}
        environment["RADIATA_DATA_DIR"] = str(settings.data_dir.resolve())
        if not self.redis_url:
            folder = url_file(settings).parent
            self.redis_url = address(folder)
            self._add("valkey", [sys.executable, "-m", "app.embedded", str(folder)], environment)
        environment = environment | {"RADIATA_REDIS_URL": self.redis_url}
        self._wait_redis()
        with self._redis() as redis:
            claim_at_start(settings, redis)
        listening = environment | {SOCKETS: ",".join(map(str, numbers))}
        self._add("api", [sys.executable, "-m", "app.cli", "api"], listening, numbers)
        self._add("intake", [sys.executable, "-m", "workers", "intake"], environment)
        self._add("trainer", [sys.executable, "-m", "workers", "train"], environment)
        self._add("worker", [sys.executable, "-m", "workers", "generate"], environment)

    def _add(
        self, name: str, command: Sequence[str], environment: dict[str, str], inherits: Sequence[int] = ()
    ) -> None:
        child = _Child(name, command, environment, inherits=inherits, log=self._log)
        child.start()
        self._children.append(child)

    def _wait_redis(self) -> None:
        # One of our own that runs reads what it wrote, however long that takes
        until, why = time.monotonic() + (READY_S if self._children else REDIS_S), "it says nothing"
        with self._redis() as redis:
            while time.monotonic() < until:
                try:
                    if redis.ping():
                        return
                except BadSettings:  # however long it is waited for
                    raise
                except RedisError as error:
                    why = str(error)
                self._none_died()
                time.sleep(LOOK_S / 4)
        raise StartFailed(f"no Redis answers at {SecretStr(self.redis_url)}: {why}")

    def _wait_ready(self, tick: Callable[[str], None]) -> None:
        until = time.monotonic() + READY_S
        while waiting := self._missing():
            self._none_died()
            if time.monotonic() > until:
                raise StartFailed(f"still waiting for {waiting} after {READY_S:.0f} s; {self._lines} may say why")
            tick(waiting)
            time.sleep(LOOK_S / 2)

    def _none_died(self) -> None:
        for child in self._children:
            if child.process and child.process.poll() is not None:
                status = child.process.returncode
                raise StartFailed(
                    f"{child.name} ended with status {status}; {self._lines} say why",
                    WRONG_SETTINGS if status == WRONG_SETTINGS else 1,
                )

    @property
    def _lines(self) -> str:
        return f"the lines in {self._log}" if self._log else "the lines above"

    def _redis(self) -> Redis:
        return client(self.redis_url, socket_connect_timeout=1, socket_timeout=1, retry=Retry(NoBackoff(), 0))

    def _missing(self) -> str | None:
        try:
            httpx.get(f"{self.url}/healthz", timeout=1, trust_env=False)
        except httpx.TransportError:
            return "the API"
        try:
            with self._redis() as redis:
                working = {name for worker in Worker.all(connection=redis) for name in worker.queue_names()}
        except RedisError:
            return "Redis"  # it died, which is seen in a moment, or is busy
        if INTAKE not in working:
            return "the intake worker"
        return None if generation_queue(self.settings.model) in working else "the model"

    def _stop(self) -> None:
        until = time.monotonic() + STOP_S
        for one in self._sockets:
            one.close()
        first = [child for child in self._children if child.name != "valkey"]
        for child in first:
            if child.process and child.process.poll() is None:
                child.process.terminate()
        for child in [*first, *(child for child in self._children if child.name == "valkey")]:
            child.stop(until)
        self._children.clear()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartFailed(
                f"another `radiata up` uses {folder}; stop it, or set RADIATA_DATA_DIR to another folder"
            ) from error
        yield
