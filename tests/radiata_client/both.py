"""Both faces of the client, asked alike: one over asyncio, run to its end at each call."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from radiata_client import AsyncClient, Client

T = TypeVar("T")
Answer = Callable[[httpx.Request], httpx.Response]
URL = "http://service"


class Waiting:
    """A client that waits."""

    def __init__(self, transport: Answer | None, url: str, **how: Any) -> None:
        self.one = Client(url, transport=httpx.MockTransport(transport) if transport else None, **how)
        self.slept: list[float] = []
        self.one._sleep = self.slept.append

    def begin(self, prompt: str, **fields: Any) -> Any:
        """The job of a prompt."""
        return self.one.draw(prompt, **fields)

    def follow(self, job: Any) -> list[Any]:
        """Everything that is told of a job."""
        return list(job)

    def call(self, method: str, *given: Any, **named: Any) -> Any:
        """What a method gives."""
        return getattr(self.one, method)(*given, **named)

    def of(self, job: Any, method: str, *given: Any) -> Any:
        """What a method of a job gives."""
        return getattr(job, method)(*given)

    def close(self) -> None:
        """Close it."""
        self.one.close()


class Awaiting:
    """One of asyncio's, in a loop of its own."""

    def __init__(self, transport: Answer | None, url: str, **how: Any) -> None:
        self._runner = asyncio.Runner()
        self.slept: list[float] = []

        async def made() -> AsyncClient:
            return AsyncClient(url, transport=httpx.MockTransport(transport) if transport else None, **how)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        self.one = self._run(made())
        self.one._sleep = sleep

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(what)

    def begin(self, prompt: str, **fields: Any) -> Any:
        """The job of a prompt."""
        return self._run(self.one.draw(prompt, **fields))

    def follow(self, job: Any) -> list[Any]:
        """Everything that is told of a job."""

        async def every() -> list[Any]:
            return [one async for one in job]

        return self._run(every())

    def call(self, method: str, *given: Any, **named: Any) -> Any:
        """What a method gives."""
        return self._run(getattr(self.one, method)(*given, **named))

    def of(self, job: Any, method: str, *given: Any) -> Any:
        """What a method of a job gives."""
        return self._run(getattr(job, method)(*given))

    def close(self) -> None:
        """Close it, and its loop."""
        self._run(self.one.close())
        self._runner.close()


FACES: dict[str, Callable[..., Any]] = {"sync": Waiting, "async": Awaiting}


@contextmanager
def face(kind: str, transport: Answer | None = None, url: str = URL, **how: Any) -> Iterator[Any]:
    """A client of that kind."""
    one = FACES[kind](transport, url, **how)
    try:
        yield one
    finally:
        one.close()
