"""Many listeners to event streams at once, over sockets of their own, and how they can vanish."""

import asyncio
import json
import random
import resource
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE_S = 120
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


def allow_many_files() -> int:
    """Raise the soft limit of open files to the hard one; that limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclass
class Listener:
    """One connection that reads the events of a generation: (id, kind, data), as far as they came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])

    @classmethod
    async def connect(cls, url: httpx.URL, generation_id: str, last: str | None = None) -> "Listener":
        """Ask for the events after `last`."""
        reader, writer = await asyncio.open_connection(url.host, url.port)
        again = f"Last-Event-ID: {last}\r\n" if last else ""
        asked = f"GET /v1/generations/{generation_id}/events HTTP/1.1\r\nHost: localhost\r\n{again}\r\n"
        writer.write(asked.encode())
        await writer.drain()
        return cls(reader, writer)

    async def begun(self) -> None:
        """Wait for the first event."""
        while not self.heard:
            await self._event()

    async def to_the_end(self) -> list[tuple[str, str, Any]]:
        """Everything until the service closes the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._event():
                pass
        self.writer.close()
        return self.heard

    async def _event(self) -> bool:
        fields: dict[str, str] = {}
        while line := (await self.reader.readline()).decode():
            name, colon, value = line.strip().partition(": ")
            if line == "0\r\n":
                return False
            if colon and name in ("id", "event", "data"):
                fields[name] = value
            if "data" in fields and line == "\n":
                self.heard.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
                return True
        return False

    def vanish(self, chance: random.Random) -> None:
        """Go without a word: closed, or reset."""
        if chance.random() < 0.5:
            raw: socket.socket = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


async def listeners(url: httpx.URL, generations: Sequence[str], last: str | None = None) -> list[Listener]:
    """One listener to each, all of them connected and answered."""
    found: list[Listener] = []
    for first in range(0, len(generations), 50):
        some = [Listener.connect(url, one, last) for one in generations[first : first + 50]]
        found += await asyncio.gather(*some)
    return found
