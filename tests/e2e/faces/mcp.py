"""The official client of MCP, on `/mcp`."""

import base64
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import start_blocking_portal
from mcp import Client

from tests.e2e.faces.face import Followed, Wanted


class ToolError(Exception):
    """A tool answered `isError`: the client hands that on and raises nothing."""


class MCPFace:
    """`mcp`: the tool `draw`; a call that is given up is canceled."""

    follows = True
    unknown_adapter = ToolError
    wrong_size = ToolError
    canceled = ToolError

    def __init__(self, url: str) -> None:
        self._held = ExitStack()
        self._portal = self._held.enter_context(start_blocking_portal())
        self._client = self._held.enter_context(self._portal.wrap_async_context_manager(Client(f"{url}/mcp")))

    def draw(self, wanted: Wanted) -> bytes:
        return self.follow(wanted).file

    def follow(self, wanted: Wanted) -> Followed:
        shares: list[float] = []

        async def told(done: float, total: float | None, message: str | None) -> None:
            shares.append(done / (total or 1))

        found: Any = self._portal.call(self._call, wanted, told)
        if found.is_error:
            raise ToolError(found.content[0].text)
        image = next(one for one in found.content if one.type == "image")
        return Followed(base64.b64decode(image.data), shares)

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        call = self._portal.start_task_soon(self._call, wanted, None)

        def cancel() -> None:
            call.cancel()

        return cancel

    def sentence(self, error: Exception) -> str:
        return str(error)

    def close(self) -> None:
        self._held.close()

    async def _call(self, wanted: Wanted, told: Any) -> Any:
        said = {
            "prompt": wanted.prompt,
            "seed": wanted.seed,
            "steps": wanted.steps,
            "guidance_scale": wanted.guidance_scale,
            "width": wanted.width,
            "height": wanted.height,
            "adapters": [{"ref": name, "strength": strength} for name, strength in wanted.adapters.items()],
        }
        return await self._client.call_tool("draw", said, progress_callback=told)
