"""A cap on bodies: 413 at once when the length is declared, else when it gets there; 503 where all are too many.

A generation may bring pictures as data URLs, four characters for three bytes. Else only forms and parts of files may be
large: they are written as they come, where all other bodies are read into memory.
"""

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import problem
from app.middleware.forwarded import path_here
from app.shared.environment import variable
from app.shared.errors import Unavailable
from app.shared.settings import MIB
from app.shared.wire.generation import MAX_REFERENCES

JSON_CAP = 1 * MIB
FORM_SLACK = 1 * MIB  # a form's other fields and its boundaries
# What brings pictures as base64
PICTURED = ("/v1/generations", "/hf", "/mcp", "/replicate/", "/fal/", "/sdapi/", "/controlnet/")
WRITTEN = "/v1/uploads/"  # as they come
LARGE = (*PICTURED, WRITTEN)
AGAIN_S = 2  # after which another body may have been answered
FORM = re.compile(r"\s*multipart/form-data\s*(;.*)?", re.IGNORECASE | re.DOTALL)


def pictures_cap(image_mb: int) -> int:
    """The most bytes of a JSON body that brings a picture of the largest size."""
    return image_mb * MIB * 4 // 3 + JSON_CAP


class BodyCap:
    """Refuses a body over the cap."""

    def __init__(self, app: ASGIApp, upload_mb: int, image_mb: int, dataset_mb: int, bodies_mb: int) -> None:
        self._app = app
        self._room, self._held = bodies_mb * MIB, 0  # of bodies in memory
        self._caps = {
            "/v1/adapters": upload_mb * MIB + FORM_SLACK,
            "/v1/datasets": dataset_mb * MIB + FORM_SLACK,
            "/comfy/upload/image": image_mb * MIB + FORM_SLACK,
            "/comfy/api/v2/assets": image_mb * MIB + FORM_SLACK,
            "/comfy/api/upload/image": image_mb * MIB + FORM_SLACK,
            "/v1/images": image_mb * MIB + FORM_SLACK,
            "/v1/uploads": max(upload_mb, dataset_mb) * MIB,
            "/openai/v1/images/edits": (MAX_REFERENCES + 1) * image_mb * MIB + FORM_SLACK,  # and a mask
            **dict.fromkeys(PICTURED, pictures_cap(image_mb)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_here(scope)
        headers = Headers(scope=scope)
        cap = next((cap for start, cap in self._caps.items() if path.startswith(start)), JSON_CAP)
        is_form = FORM.fullmatch(headers.get("content-type", ""))
        if not path.startswith(LARGE) and not is_form:
            cap = JSON_CAP
        detail = f"the body is over {cap // MIB} MiB; send less"
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > cap:
            await problem(413, "too_large", "Too large", detail)(scope, receive, send)
            return
        seen, held = 0, 0
        in_memory = path.startswith(PICTURED) or not (is_form or path.startswith(WRITTEN))  # whatever it calls itself

        async def counted() -> Message:
            nonlocal seen, held
            message = await receive()
            more = len(message.get("body", b""))
            seen += more
            if seen > cap:
                raise HTTPException(413, detail)
            if in_memory:
                held += more
                self._held += more
                if self._held > self._room and self._held > seen:  # one alone is bounded by its own cap
                    raise self._full()
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= held

    def _full(self) -> Unavailable:
        setting = variable("max_bodies_mb")
        message = (
            f"the bodies of all requests are over {self._room // MIB} MiB just now ({setting}); try again in a moment"
        )
        return Unavailable("bodies_full", message, retry_after_s=AGAIN_S)
