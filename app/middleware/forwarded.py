"""Where the service is seen from outside: below a path, under another name, over TLS, as its proxy says.

`RADIATA_ROOT_PATH` says it for all requests; a trusted proxy says it with each, in `X-Forwarded-Prefix`, `-Host` and
`-Proto`. It does not matter whether the proxy takes the prefix off the path or leaves it there.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
SCHEMES = ("http", "https")
OURS = b"x-forwarded-"


def path_here(scope: Scope) -> str:
    """The path of a request below the prefix, as routes know it."""
    path, prefix = scope["path"], scope.get("root_path", "")
    return path[len(prefix) :] if prefix and f"{path}/".startswith(f"{prefix}/") else path


class Forwarded:
    """Takes prefix, host and scheme from trusted proxies."""

    def __init__(self, app: ASGIApp, root_path: str, trusted: Sequence[str]) -> None:
        self._app = app
        self._root_path = root_path
        self._trusted = [ipaddress.ip_network(one) for one in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = self._seen_from_outside(scope)
        prefix = scope.get("root_path", "")
        if not prefix:
            await self._app(scope, receive, send)
            return

        async def placed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if (where := headers.get("location", "")).startswith("/v1/"):
                    headers["location"] = prefix + where
            await send(message)

        await self._app(scope, receive, placed)

    def _seen_from_outside(self, scope: Scope) -> Scope:
        forwarded = any(name.startswith(OURS) for name, _ in scope["headers"])
        if not forwarded and not self._root_path:
            return scope
        given = Headers(scope=scope) if forwarded and self._is_trusted(scope.get("client")) else Headers()
        prefix = _first(given, "x-forwarded-prefix").rstrip("/")
        prefix = prefix if PREFIX.fullmatch(prefix) and "/.." not in prefix else self._root_path
        changed: dict[str, Any] = {}
        if prefix:
            here = {"path": scope["path"], "root_path": prefix}
            changed = {"path": prefix + path_here(here), "root_path": prefix}
        if (scheme := _first(given, "x-forwarded-proto").lower()) in SCHEMES:
            changed["scheme"] = scheme
        if HOST.fullmatch(host := _first(given, "x-forwarded-host")):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", host.encode()), *others]
        return {**scope, **changed}

    def _is_trusted(self, client: Any) -> bool:
        try:
            address = ipaddress.ip_address(client[0])
        except (TypeError, ValueError):
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._trusted if network.version == address.version)


def _first(headers: Headers, name: str) -> str:
    # Proxies in a row each add theirs: the first is the one that the browser spoke to
    return headers.get(name, "").split(",")[0].strip()
