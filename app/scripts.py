"""Scripts that Redis runs for many requests at once: what is asked for in the same moment goes in one round trip.

One pipeline is under way at a time; whatever is asked for meanwhile is the next one. So a lone request waits for
nobody, and the busier it is the less each costs. A script that fails, fails for whoever asked for it alone.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

MOST = 256  # scripts in one round trip: Redis answers nobody else meanwhile

Argument = str | bytes | int | float


@dataclass(frozen=True)
class Script:
    """A script in Lua."""

    text: str

    @cached_property
    def sha1(self) -> str:
        """The hash by which Redis knows it, once it has seen it."""
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, eq=False)
class _Call:
    script: Script
    keys: Sequence[str]
    args: Sequence[Argument]
    answer: asyncio.Future[Any]


class Scripts:
    """Runs scripts, from one event loop."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._calls: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """The answer of a script; raises RedisError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.append(_Call(script, keys, args, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._send())
        return await answer

    async def aclose(self) -> None:
        """Answer nobody any more."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._refuse(self._calls)  # where the task had not begun
        await self._redis.aclose()

    async def _send(self) -> None:
        calls: list[_Call] = []
        try:
            while self._calls:
                calls, self._calls = self._calls[:MOST], self._calls[MOST:]
                await self._pipeline(calls)
        finally:  # of those that are left nobody would hear again
            self._task = None
            self._refuse(calls + self._calls)

    def _refuse(self, calls: Sequence[_Call]) -> None:
        self._calls = []
        for call in calls:
            _tell(call, RedisConnectionError("it was not asked any more"))

    async def _pipeline(self, calls: Sequence[_Call]) -> None:
        answers = await self._answers(calls)
        unseen = [call for call, answer in zip(calls, answers, strict=True) if isinstance(answer, NoScriptError)]
        for call, answer in zip(calls, answers, strict=True):
            if not isinstance(answer, NoScriptError):
                _tell(call, answer)
        if unseen:  # a server that is new, or was emptied: it has run none of them
            for call, answer in zip(unseen, await self._answers(unseen, by_name=False), strict=True):
                _tell(call, answer)

    async def _answers(self, calls: Sequence[_Call], by_name: bool = True) -> Sequence[Any]:
        """The answers of Redis, one for each; an error is an answer."""
        commands = []
        for call in calls:
            name, what = ("EVALSHA", call.script.sha1) if by_name else ("EVAL", call.script.text)
            command = (name, what, len(call.keys), *call.keys, *call.args)
            commands.append(pack_command(command))  # pyright: ignore[reportArgumentType]  # typed as a tuple of one
        try:
            return await self._exchanged(b"".join(commands), len(commands))
        except RedisError as error:
            return [error] * len(calls)

    async def _exchanged(self, commands: bytes, count: int) -> list[Any]:
        """The answers to commands as they go over the wire; raises RedisError.

        redis-py's own pipeline packs them in Python, which was a sixth of what an acceptance costs the event loop.
        """
        connection = await self._redis.connection_pool.get_connection()

        async def ask() -> list[Any]:
            await connection.send_packed_command(commands)
            return [await _answer(connection) for _ in range(count)]

        try:
            return await connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
        finally:
            await self._redis.connection_pool.release(connection)


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _tell(call: _Call, answer: Any) -> None:
    if call.answer.done():  # told before, or nobody waits for it any more
        return
    if isinstance(answer, Exception):
        call.answer.set_exception(answer)
    else:
        call.answer.set_result(answer)
