"""Only pages of this service, and of origins that are named, may change something from within a browser.

Browsers send `Sec-Fetch-Site` with every request, or, where they do not, `Origin` with every one that changes
something; no page can forge either. What sends neither is no browser.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import problem

READING = ("GET", "HEAD", "OPTIONS")
OWN_SITES = ("same-origin", "none")  # none: typed, or a bookmark
PORTS = {"http": 80, "https": 443}


def is_own(headers: Headers, allowed: Sequence[str]) -> bool:
    """Tell whether a changing request comes from a page of ours, from one that is allowed, or from no page."""
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if len(origins) > 1 or len(sites) > 1:
        return False
    if origins and origins[0] in allowed:
        return True
    if sites:
        return sites[0] in OWN_SITES
    return not origins or _is_here(origins[0], headers.get("host", ""))


def _is_here(origin: str, host: str) -> bool:
    try:
        there = urlsplit(origin)
        here = urlsplit(f"{there.scheme}://{host}")
        default = PORTS[there.scheme]
        return (there.hostname, there.port or default) == (here.hostname, here.port or default)
    except (ValueError, KeyError):
        return False


class Origins:
    """Answers 403 to what another site's page would change."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = tuple(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        reads = scope.get("method") in READING  # a socket has none: a page of any site can open one, and read it
        if scope["type"] == "lifespan" or reads or is_own(Headers(scope=scope), self._allowed):
            await self._app(scope, receive, send)
            return
        detail = "a page of another site asked for this; RADIATA_CORS_ORIGINS names the origins that may"
        await problem(403, "cross_site", "Forbidden", detail)(scope, receive, send)
