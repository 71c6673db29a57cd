"""A wire to a server that a test can cut, let go silent, or lead elsewhere; over TLS where a context is given."""

import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """Forwards connections on a port of loopback to a Redis; `cut`: none; `silent`: taken, and never answered."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.lead(url)
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.silent = False
        self._port = 0
        self.mend()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def lead(self, url: str) -> None:
        """Forward new connections to this server; those that are open stay where they are."""
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def hush(self) -> None:
        """Take what comes, and say nothing more."""
        self.silent = True

    def mend(self) -> None:
        """Let everything through again; what was swallowed stays so."""
        if self.silent:
            self.cut()
        self.silent = False
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
            self._port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # an error of TLS is one, too: whoever speaks none, or trusts nobody, is let go
            while True:
                near, _ = listener.accept()
                if self._tls:
                    near = self._tls.wrap_socket(near, server_side=True)
                self._open.append(near)
                if self.silent:
                    continue
                far = socket.create_connection(self._target)
                self._open.append(far)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.silent:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
