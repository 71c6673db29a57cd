"""What stands before and behind every route: a cap on bodies, and headers that keep data data."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem
from app.shared.settings import MIB

JSON_CAP = 1 * MIB
FORM_SLACK = 1 * MIB  # a form's other fields and its boundaries
UPLOADS = "/v1/adapters"

# No page of ours runs a script from elsewhere, whatever a name contains
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
DOCS = ("/docs", "/redoc")  # their pages, which are not ours, start with a script in the markup


class BodyCap:
    """Refuses a body over the cap with a 413: at once when its length is declared, else when it gets there."""

    def __init__(self, app: ASGIApp, upload_mb: int) -> None:
        self._app = app
        self._upload_cap = upload_mb * MIB + FORM_SLACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cap = self._upload_cap if scope["path"].startswith(UPLOADS) else JSON_CAP
        detail = f"the body is over {cap // MIB} MiB; send less"
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > cap:
            await problem(413, "too_large", "Too large", detail)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > cap:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, counted, send)


class SafeHeaders:
    """Adds the security headers to every response but the documentation's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http" or scope["path"].startswith(DOCS):
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, guarded)
