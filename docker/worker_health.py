"""Exits 0 when a worker of this container is registered with the queue, which takes a heartbeat every few seconds."""

import socket
import sys

from rq import Worker

from app.shared.connection import connect
from app.shared.settings import Settings

workers = Worker.all(connection=connect(Settings()))  # type: ignore[call-arg]
if not any(worker.hostname == socket.gethostname() for worker in workers):
    sys.exit(f"no worker of {socket.gethostname()} among {len(workers)} registered")
