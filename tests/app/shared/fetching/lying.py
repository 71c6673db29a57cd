"""Servers on loopback that say byte for byte what a test tells them to, and remember what they were asked."""

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

Says = Callable[[bytes], Iterable[bytes]]  # the head of a request -> pieces of what is answered


class Lying:
    """A server; asked: the head of each request that came."""

    def __init__(self, says: Says | bytes, secured: ssl.SSLContext | None = None) -> None:
        self._says: Says = (lambda _: [says]) if isinstance(says, bytes) else says
        self._secured = secured
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.asked: list[bytes] = []
        self.bodies: list[bytes] = []
        self._thread = Thread(target=self._serve, daemon=True)

    @contextmanager
    def serving(self) -> Iterator["Lying"]:
        """Serve, one request after another."""
        self._thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with suppress(OSError), connection:
                connection.settimeout(10)
                self._answer(connection)

    def _answer(self, plain: socket.socket) -> None:
        connection = self._secured.wrap_socket(plain, server_side=True) if self._secured else plain
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (more := connection.recv(65536)):
                    return
                head += more
            head, _, body = head.partition(b"\r\n\r\n")
            while len(body) < _length(head):
                body += connection.recv(65536)
            self.asked.append(head)
            self.bodies.append(body)
            for piece in self._says(head):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_RDWR)


def _length(head: bytes) -> int:
    values = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return int(values[0]) if values else 0


def answer(body: bytes = b"", status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    """Return a whole answer; length: what it says of its body; headers: with `_` for `-`."""
    lines = {"Content-Length": str(len(body) if length is None else length)}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body
