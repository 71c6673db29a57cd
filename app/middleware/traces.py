"""A span for every request that asks for something to be done, as a part of its caller's trace where they name one."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.forwarded import path_here
from app.shared import tracing

PARTS = 3  # of a path that a span is called by: no id


class Traces:
    """Begins a span with each POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "POST" or not tracing.is_on():
            await self._app(scope, receive, send)
            return
        name = "/".join(path_here(scope).split("/")[:PARTS])
        with tracing.span(f"POST {name}", Headers(scope=scope).get(tracing.HEADER, "")):
            await self._app(scope, receive, send)
