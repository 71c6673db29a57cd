"""uvicorn's server, which lets waiting requests end when it is told to stop.

uvicorn waits for requests in flight, and cuts off those that take longer than a few seconds: a stream of events or an
upload that waits for its verdict would be broken in the middle, with a traceback in the log.
"""

import socket

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """Serves one application of `app.main`; it ends what waits, then stops as uvicorn does."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End every wait, then finish what is in flight."""
        self._app.state.service.hub.stop()
        await super().shutdown(sockets)
