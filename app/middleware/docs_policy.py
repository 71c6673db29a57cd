"""The documentation's pages, which are not ours, start with a script in the markup: just that one may run."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.forwarded import path_here

DOCS = ("/docs", "/docs/oauth2-redirect", "/redoc")
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Swagger UI and ReDoc style their elements one by one, draw with data: and blob:, and ReDoc searches in a worker
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; script-src 'self' {hashes}; "
    "worker-src 'self' blob:; connect-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)


class DocsPolicy:
    """Names the scripts within a page of the documentation by their hashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http" or path_here(scope) not in DOCS:
            await self._app(scope, receive, send)
            return
        start: Message = {}

        async def named(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # its policy depends on the page, which comes in one piece
                return
            if start:
                digests = (b64encode(sha256(script).digest()).decode() for script in INLINE.findall(message["body"]))
                hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
                MutableHeaders(scope=start)["Content-Security-Policy"] = POLICY.format(hashes=hashes)
                await send(start)
                start = {}
            await send(message)

        await self._app(scope, receive, named)
