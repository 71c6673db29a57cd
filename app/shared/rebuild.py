"""A copy in Redis that says of itself whether it is whole, and is made again from storage where it is not.

A copy is one key: what says that it is whole is in it, and goes with it, whatever is deleted or evicted. Whoever makes
it again puts a token in first, which goes with the key likewise: only under that token is it ever called whole.

Key `radiata:rebuilding:<copy>`: string; held by whoever makes that copy again, so that others need not; a minute.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import TypeVar

import structlog
from redis import Redis

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R")
LOCK = "radiata:rebuilding:"
LOCK_S = 60
WAIT_S = 1.0  # for somebody else's rebuild, before asking storage oneself
LOOK_S = 0.05
READERS = 16


def ensure(redis: Redis, copy: str, whole: Callable[[], bool], rebuild: Callable[[str], bool]) -> bool:
    """Have a copy made again where it is not whole, once whoever asks; False where it is not whole yet.

    rebuild: makes it again under a token, and says whether it succeeded. Raises RedisError where there is no Redis.
    """
    until = time.monotonic() + WAIT_S
    while not whole():
        if redis.set(LOCK + copy, 1, nx=True, ex=LOCK_S):
            try:
                return rebuild(token_hex(8))
            finally:
                redis.delete(LOCK + copy)
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_S)
    return True


def read_all(read: Callable[[T], R], keys: list[T]) -> list[R]:
    """Read many records from storage, several at a time: one after the other, a distant store takes minutes."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, keys))
