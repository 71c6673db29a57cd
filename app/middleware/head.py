"""HEAD wherever there is GET: the same answer, headers and length, without its body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODILESS = "radiata.bodiless"  # in the scope, where whoever would open a file for the body can see that none is sent


class Head:
    """Asks the route with GET, and ends the answer where its body would begin: what streams for ever hears that too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET", BODILESS: True}, receive, bodiless)
