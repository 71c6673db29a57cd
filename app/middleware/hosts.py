"""A name in `Host` that nobody gave this service is refused.

A page of another site can have its own name answer with this machine's address (DNS rebinding), and is then of the
same origin as the service for the browser. That needs a name: an address in `Host` is always meant.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import problem
from app.middleware.forwarded import path_here

LOOPBACK = ("localhost", "*.localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback")
REMEMBERED = 256  # hosts: most requests name one of few
OPEN = ("/healthz", "/readyz", "/metrics")  # asked by probes, under any name
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_])?\.?)(?::([0-9]{1,5}))?", re.IGNORECASE)


@lru_cache(REMEMBERED)
def host_of(header: str) -> str | None:
    """The name or address in a `Host` header, without its port, in small letters; None where it is malformed."""
    match = HOST.fullmatch(header)
    if match is None or ".." in match[1] or int(match[2] or 0) > 65535:
        return None
    host = match[1].lower().removesuffix(".")
    return host if not host.startswith("[") or _is_address(host) else None


def is_known(host: str, names: Sequence[str]) -> bool:
    """Tell whether a host is an address, or one of the names; `*.name` stands for all below a name, `*` for all."""
    if _is_address(host):
        return True
    return any(host == name or name == "*" or (name[:2] == "*." and host.endswith(name[1:])) for name in names)


@lru_cache(REMEMBERED)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class Hosts:
    """Answers 421 under names that are not the service's, 400 where `Host` is none."""

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = (*LOOPBACK, *(name.lower().removesuffix(".") for name in names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] == "lifespan" or path_here(scope) in OPEN:
            await self._app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = host_of(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        if host is None:
            refusal = problem(400, "bad_host", "Bad request", "the request names no host, or not just one, in Host")
        elif not is_known(host, self._names):
            detail = f"{host!r} is not a name of this service; RADIATA_ALLOWED_HOSTS sets its names"
            refusal = problem(421, "unknown_host", "Misdirected request", detail)
        else:
            await self._app(scope, receive, send)
            return
        await refusal(scope, receive, send)
