"""Limits of a caller: requests and uploads a minute, jobs at once. Whatever is accepted passes here.

A key may have limits of its own; for what it has none of, the settings' hold, which all keys of an owner share. What is
counted at once is always counted of the owner, whichever key sent it. Without Redis nothing that is counted is accepted
(503), as nothing is accepted then anyway; requests that only look pass uncounted.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:rate:<limit>:<who>` | hash | a bucket: `tokens`, and `at`, seconds of Redis' clock | until it is full |

Who is a key's id, where that has such a limit of its own, or else `@<owner>`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal, cast

from redis import Redis
from redis.exceptions import RedisError

from app.scripts import Script, Scripts
from app.shared.errors import Standing, TooMany, Unavailable
from app.shared.living import leave, living_key, take
from app.shared.owners import FIRST
from app.shared.settings import Settings
from app.shared.wire.key import NO_LIMITS, KeyLimits

Rate = Literal["requests", "uploads"]
MINUTE_S = 60
ASK_AGAIN_S = 5  # after which a job of the owner may have ended

# KEYS: a bucket; ARGV: tokens that it holds, which is what flows into it in a minute, how many are taken, and
# `owed` where they are taken whether they are there or not. Answers 1 where they were taken, or else 0, and how many
# are there now: below 0, so many are owed.
BUCKET = Script("""
local time, most, wanted = redis.call('TIME'), tonumber(ARGV[1]), tonumber(ARGV[2])
local now = time[1] + time[2] / 1000000
local had = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local passed = math.max(0, now - (tonumber(had[2] or now) or now))
local tokens = math.min(most, (tonumber(had[1] or most) or most) + passed * most / 60)
local there = (ARGV[3] == 'owed' or tokens >= wanted) and 1 or 0
tokens = tokens - there * wanted
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil(60 + (most - tokens) * 60 / most))
return {there, string.format('%.6f', tokens)}
""")

SAID = {
    "requests": "{limit} requests a minute are allowed; send the next one in {reset_s} s",
    "uploads": "{limit} uploads a minute are allowed; send the next one in {reset_s} s",
    "generations": "{used} of your generations wait or run, and {limit} may; wait until one has ended, or cancel one",
    "trainings": "{used} of your trainings wait or run, and {limit} may; wait until one has ended, or cancel one",
}


@dataclass(frozen=True)
class Limits:
    """Judges what one caller does. own: the limits of its key, if that has any."""

    redis: Redis
    settings: Settings
    owner: str = FIRST
    key_id: str = ""
    own: KeyLimits = NO_LIMITS

    def of(self, name: str) -> int:
        """A limit by its name; 0 is none."""
        own = cast(int | None, getattr(self.own, name))
        return cast(int, getattr(self.settings, f"limit_{name}")) if own is None else own

    # In a minute

    async def request(self, scripts: Scripts) -> Standing | None:
        """Count a request; where it stands, or None without a limit, or without Redis. Raises TooMany."""
        return await self._requests(scripts, 1)

    async def further(self, scripts: Scripts, count: int) -> Standing | None:
        """Count as many requests more, which came in one; where it stands. What is not there is owed."""
        return await self._requests(scripts, count, "owed")

    async def _requests(self, scripts: Scripts, count: int, *how: str) -> Standing | None:
        if not (most := self.of("requests")):
            return None
        try:
            answer = await scripts.run(BUCKET, [self._bucket("requests")], [most, count, *how])
        except RedisError:
            return None
        return _judged("requests", most, count, answer)

    def upload(self, count: int = 1) -> None:
        """Count uploads, before anything of them is stored; raises TooMany, and Unavailable without Redis."""
        if not (most := self.of("uploads")):
            return
        with _answering():
            answer = self.redis.register_script(BUCKET.text)(keys=[self._bucket("uploads")], args=[most, count])
        _judged("uploads", most, count, cast(Sequence[int | bytes], answer))

    def _bucket(self, name: Rate) -> str:
        shared = getattr(self.own, name) is None
        return f"radiata:rate:{name}:{f'@{self.owner}' if shared else self.key_id}"

    # At once

    @contextmanager
    def place(self, kind: str, *ids: str) -> Iterator[None]:
        """Accept these jobs inside, all or none; raises TooMany, and Unavailable without Redis.

        kind: as `Places.name`. What fails inside gives their places back, but for what was accepted all the same.
        """
        most, key = self.of(kind), living_key(kind, self.owner)
        if not most:
            yield
            return
        with _answering():
            used, taken = take(self.redis, key, most, ids)
        if not taken:
            raise _too_many("quota_exceeded", Standing(kind, most, max(0, most - used), ASK_AGAIN_S), {"used": used})
        try:
            yield
        except BaseException:
            with suppress(RedisError):  # or a sweep gives them back
                leave(self.redis, key, ids)
            raise


def _judged(name: Rate, most: int, wanted: int, answer: Sequence[int | bytes]) -> Standing:
    there, tokens = bool(answer[0]), float(answer[1])
    lacks = (most if there else min(wanted, most)) - tokens  # until it is full again, or holds as many
    standing = Standing(name, most, max(0, floor(tokens)), ceil(lacks * MINUTE_S / most), MINUTE_S)
    if not there:
        raise _too_many("rate_limited", standing)
    return standing


def _too_many(code: str, standing: Standing, facts: Mapping[str, object] | None = None) -> TooMany:
    message = SAID[standing.name].format(limit=standing.limit, reset_s=standing.reset_s, **(facts or {}))
    return TooMany(code, message, standing)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable("queue_unavailable", f"the queue does not answer: {error}") from error
