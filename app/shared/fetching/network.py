"""Connections to judged addresses alone: a name is resolved once, and what it gave is judged, connected to and checked.

`httpcore` makes the request, and keeps the name for TLS and the `Host` header; only the connecting is done here, below
everything that reads a URL. Every read and write is bounded by the time that the whole request has.
"""

import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpcore

from app.shared.fetching.addresses import why_refused
from app.shared.fetching.place import refused

Resolve = Callable[[str, int], Sequence[str]]
HEAD_BYTES = 256 * 1024  # of all that may come before a body


class TimeUp(httpcore.TimeoutException):
    """The whole request took longer than it may."""


def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the system resolves it; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


@dataclass
class Allowance:
    """What is left to one request; clock: seconds that only go forward."""

    clock: Callable[[], float]
    seconds: float
    head: float = HEAD_BYTES  # bytes; without bound once the head of the answer has come
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.until = self.clock() + self.seconds

    def time(self, most_s: float | None) -> float:
        """Return for how long the next step may wait; raises TimeUp."""
        left = self.until - self.clock()
        if left <= 0:
            raise TimeUp(f"it took longer than the {self.seconds:g} s that it has")
        return left if most_s is None else min(left, most_s)

    def read(self, size: int) -> None:
        """Count what came."""
        self.head -= size
        if self.head < 0:
            raise httpcore.RemoteProtocolError("what comes before its body does not end")


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to hosts that may be asked; private: whether this one may be inside a network of one's own."""

    def __init__(self, resolve: Resolve, allowance: Allowance, private: bool) -> None:
        self._resolve, self._allowance, self._private = resolve, allowance, private
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the addresses of a name; raises SourceRefused where any of them may not be asked."""
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host!r} is not found") from error
        for address in addresses:
            self._judge(host, address)
        failed: Exception = httpcore.ConnectError(f"the name {host!r} has no address")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(address, port, self._allowance.time(timeout), None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
                continue
            peer = stream.get_extra_info("server_addr")
            try:
                self._judge(host, str(peer[0]) if peer else "")
            except BaseException:
                stream.close()
                raise
            return _Bounded(stream, self._allowance)
        raise failed

    def _judge(self, host: str, address: str) -> None:
        why = None if self._private else why_refused(address)
        if why:
            raise refused(f"{host!r} leads to an address that is {why}")


class _Bounded(httpcore.NetworkStream):
    """A connection whose every step takes of what is left."""

    def __init__(self, stream: httpcore.NetworkStream, allowance: Allowance) -> None:
        self._stream, self._allowance = stream, allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, self._allowance.time(timeout))
        self._allowance.read(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._allowance.time(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._allowance.time(timeout))
        return _Bounded(secured, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
