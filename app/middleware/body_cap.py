"""A cap on bodies: 413 at once when the length is declared, else when it gets there."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem
from app.middleware.forwarded import path_here
from app.shared.settings import MIB

JSON_CAP = 1 * MIB
FORM_SLACK = 1 * MIB  # a form's other fields and its boundaries
UPLOADS = "/v1/adapters"


class BodyCap:
    """Refuses a body over the cap."""

    def __init__(self, app: ASGIApp, upload_mb: int) -> None:
        self._app = app
        self._upload_cap = upload_mb * MIB + FORM_SLACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cap = self._upload_cap if path_here(scope).startswith(UPLOADS) else JSON_CAP
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
