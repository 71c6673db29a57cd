"""Every request has an id; its answer, its lines in the log and those of the engine that draws for it have it too."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.shared.log import asked_by

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")


class RequestIds:
    """Takes the id that a proxy or a client gives, or makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if GIVEN.fullmatch(given) else uuid4().hex

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        asked_by(request_id)  # for as long as the task of this request lasts: what fails is logged further out
        await self._app(scope, receive, named)
