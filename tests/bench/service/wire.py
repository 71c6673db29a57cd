"""A small HTTP client on asyncio's protocols, so that the server is what is measured and not a client library."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Body = Callable[[int], bytes]


@dataclass
class Answers:
    """What came back, and what it cost here."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    seconds: float = 0.0
    client_cpu: float = 0.0  # of one core

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.milliseconds) / self.seconds


def ask(url: str, method: str, path: Callable[[int], str], body: Body, connections: int, seconds: float) -> Answers:
    """Send requests over so many connections that are kept open, each the next as soon as it has its answer."""
    answers = Answers()
    cpu, began = time.process_time(), time.perf_counter()
    asyncio.run(_all(url, method, path, body, connections, seconds, answers))
    answers.seconds = time.perf_counter() - began
    answers.client_cpu = (time.process_time() - cpu) / answers.seconds
    return answers


async def _all(
    url: str, method: str, path: Callable[[int], str], body: Body, connections: int, seconds: float, answers: Answers
) -> None:
    place = urlsplit(url)
    until = time.perf_counter() + seconds
    numbers = iter(range(10**9))

    async def one() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < until:
            number = next(numbers)
            content = body(number)
            head = f"{method} {path(number)} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
            began = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            status, answer = await _answer(reader)
            answers.milliseconds.append(1000 * (time.perf_counter() - began))
            answers.statuses[status] = answers.statuses.get(status, 0) + 1
            if len(answers.bodies) < 1000:
                answers.bodies.append(answer)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)
