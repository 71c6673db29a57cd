"""Requests a minute: counted for whoever is known, before a body is read; every answer says where its caller stands."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.callers import CALLER, Caller
from app.deps import Service
from app.http.errors import problem
from app.http.standing import headers_of, refusal_headers
from app.shared.errors import TooMany


class Rates:
    """Answers 429 to whom has sent more than it may. What is open to all is not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        caller: Caller | None = scope.get(CALLER)
        if caller is None:
            await self._app(scope, receive, send)
            return
        service: Service = scope["app"].state.service.seen_by(caller)
        try:
            standing = await service.limits.request(service.scripts)
        except TooMany as error:
            headers = refusal_headers(error.standing)
            refusal = problem(
                error.status, error.code, error.title, error.message, headers=headers, members=error.members
            )
            await refusal(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and standing:
                headers = MutableHeaders(scope=message)
                for name, value in headers_of(standing).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, told if standing else send)
