"""A TCP proxy between the service and what it stands on, which can be cut, fall silent, or answer 503."""

import asyncio
import random
import threading
from contextlib import suppress
from typing import Literal

Mode = Literal["open", "cut", "silent", "busy"]
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BUSY_OF = 3  # one connection in so many is answered 503 where the mode is busy
CHUNK = 1 << 16
END_S = 5.0
HOST = "127.0.0.1"


class Proxy:
    """Listens on `port` and passes on to `target`, as its mode says.

    open: passes everything on. cut: drops every connection and takes no new one. silent: takes them and says nothing,
    and goes on where it stopped once it is open again. busy: drops every connection, and answers one new one in three
    with a 503.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop: asyncio.AbstractEventLoop
        self._mode: Mode = "open"
        self._speaking = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._random = random.Random(0)
        self._stop = asyncio.Event()
        ready: list[int] = []
        listening = threading.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            server = await asyncio.start_server(self._serve, HOST, 0)
            ready.append(server.sockets[0].getsockname()[1])
            self._speaking.set()
            listening.set()
            await self._stop.wait()
            server.close()
            self._mode = "cut"
            self._speaking.set()
            self._drop()
            if self._serving:
                await asyncio.wait(self._serving, timeout=END_S)

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        listening.wait()
        self.port = ready[0]

    def to(self, mode: Mode) -> None:
        """Change how it passes on."""
        asyncio.run_coroutine_threadsafe(self._to(mode), self._loop).result(10)

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _to(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "silent":
            self._speaking.clear()
            return
        if mode != "open":
            self._drop()
        self._speaking.set()

    def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await self._speaking.wait()
            if self._mode == "busy" and self._random.randrange(BUSY_OF) == 0:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(BUSY)
                await writer.drain()
            elif self._mode != "cut":
                await self._join(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(HOST, self._target)
        self._open.add(their_writer)
        try:
            ways = [self._pump(reader, their_writer), self._pump(their_reader, writer)]
            _, left = await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        finally:
            self._open.discard(their_writer)
            their_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                await self._speaking.wait()
                sink.write(data)
                await sink.drain()
