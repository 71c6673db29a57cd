"""Problems below the address of another API's face, whoever answers them, are told in that API's own shape."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.faces.a1111 import errors as a1111
from app.faces.comfy import errors as comfy
from app.faces.fal import errors as fal
from app.faces.hf import errors as hf
from app.faces.openai import errors as openai
from app.faces.problems import status_of
from app.faces.replicate import errors as replicate
from app.middleware.forwarded import path_here


class Face(NamedTuple):
    """How an API tells what is wrong."""

    prefix: str
    status: Callable[[int], int]
    body: Callable[[Mapping[str, Any]], Mapping[str, Any]]


FACES = (
    Face("/comfy/api/v2/", comfy.job_status_of, comfy.job_error_of),
    Face("/comfy/", comfy.status_of, comfy.error_of),
    Face("/openai/", status_of, openai.error_of),
    Face("/hf", status_of, hf.error_of),
    *(Face(prefix, a1111.status_of, a1111.error_of) for prefix in ("/sdapi/", "/controlnet/")),
    Face("/fal/", fal.status_of, fal.error_of),
    Face("/replicate/", replicate.status_of, replicate.error_of),
)


class FaceErrors:
    """Tells problems as the face does that was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        face = next((one for one in FACES if scope["type"] == "http" and path_here(scope).startswith(one.prefix)), None)
        if face is None:
            await self._app(scope, receive, send)
            return
        begun: list[Message] = []
        parts: list[bytes] = []

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_problem(message):
                begun.append(message)
            elif not begun:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    await _tell(face, begun[0], b"".join(parts), send)

        await self._app(scope, receive, told)


def _is_problem(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value == b"application/problem+json" for name, value in message["headers"]
    )


async def _tell(face: Face, begun: Message, body: bytes, send: Send) -> None:
    problem = json.loads(body or b"{}")
    text = json.dumps(face.body({"status": begun["status"], **problem})).encode()
    changed = {b"content-type": b"application/json", b"content-length": str(len(text)).encode()}
    headers = [(name, changed.get(name.lower(), value)) for name, value in begun["headers"]]
    if begun["status"] == 500:  # clients would ask again by themselves
        headers.append((b"x-should-retry", b"false"))
    await send({**begun, "status": face.status(begun["status"]), "headers": headers})
    await send({"type": "http.response.body", "body": text})
