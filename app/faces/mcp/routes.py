"""`/mcp`: what speaks the protocol is the official package, loaded when the first request comes.

Whoever never asks pays nothing for it, and without the package the answer is a sentence.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.deps import Service
from app.http.errors import problem
from app.shared.errors import RadiataError

GRACE_S = 1.0  # in which what waits can still be answered, when this process ends
MISSING = "the mcp package is not installed here: pip install 'radiata[mcp]', and start the service again"


class Door:
    """What MCP's requests come to; serves them from within a task group of the application's life."""

    def __init__(self, group: TaskGroup, service: Service) -> None:
        self._group = group
        self._service = service
        self._opening = anyio.Lock()
        self._served: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI); ends it when this process ends."""
        try:
            served = await self._open()
        except ModuleNotFoundError:
            await problem(501, "mcp_not_installed", "Not installed", MISSING)(scope, receive, send)
            return
        said, refused = _Said(send), None
        async with anyio.create_task_group() as group:
            group.start_soon(self._ending, group.cancel_scope)
            try:
                await served(scope, receive, said)
            except (RadiataError, HTTPException) as error:  # of its body
                refused = error
            group.cancel_scope.cancel()
        if refused:
            raise refused
        await said.finish()

    async def _open(self) -> ASGIApp:
        async with self._opening:
            if self._served is None:
                build = await run_in_threadpool(_builder)
                self._served = await self._group.start(self._serve, build(self._service))
        assert self._served is not None
        return self._served

    async def _serve(self, manager: Any, *, task_status: TaskStatus[ASGIApp]) -> None:
        async with manager.run():
            task_status.started(manager.handle_request)
            await anyio.sleep_forever()

    async def _ending(self, scope: anyio.CancelScope) -> None:
        await self._service.hub.stopped()
        await anyio.sleep(GRACE_S)
        scope.cancel()


class _Said:
    """What was sent, so that an answer that was cut off is ended."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = False

    async def __call__(self, message: Message) -> None:
        self._open = message["type"] == "http.response.start" or bool(message.get("more_body"))
        await self._send(message)

    async def finish(self) -> None:
        """End the answer, if it was begun."""
        if self._open:
            await self({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """Serve what comes to `/mcp`, as long as the application lives."""
    async with anyio.create_task_group() as group:
        app.state.mcp = Door(group, app.state.service)
        yield
        group.cancel_scope.cancel()


def _builder() -> Any:
    from app.faces.mcp.server import build

    return build


class _Entry:
    """Hands requests to the door of their application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.mcp(scope, receive, send)


router = APIRouter(routes=[Route("/mcp", _Entry(), methods=["GET", "POST", "DELETE"])])
