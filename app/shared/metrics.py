"""Counters that every process adds to and the API shows.

Key `radiata:metrics`: hash, counter name to a number; written by workers and API, read by `/metrics`; never expires.

What happens where Redis is not at hand, as a storage that fails, is tallied in the process and goes to Redis with its
next counting.
"""

from collections import Counter
from contextlib import suppress
from math import isfinite
from threading import Lock
from typing import cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

KEY = "radiata:metrics"
FITS = ("same", "near", "resident", "other")  # how well a generation fits the adapters that an engine has, best first
_lock, _tallied = Lock(), Counter[str]()


def of_tier(figure: str, tier: str) -> str:
    """The counter that holds a figure of one tier of the adapter cache."""
    return f"adapter_tier_{figure}:{tier}"


def of_refusal(status: int) -> str:
    """The counter of requests that were refused with a status."""
    return f"requests_refused:{status}"


def of_choice(fit: str) -> str:
    """The counter of generations that a worker took because they fit so well what its engine has."""
    return f"affinity_choices:{fit}"


def tally(name: str) -> None:
    """Count something that has happened in this process; Redis is told of it later."""
    with _lock:
        _tallied[name] += 1


def count(redis: Redis, amounts: dict[str, float]) -> None:
    """Add to counters, all at once, with what this process has tallied; raises RedisError, and then keeps the tally."""
    with _lock:
        told = dict(_tallied)
        _tallied.clear()
    try:
        _count(redis, dict(Counter(amounts) + Counter(told)))
    except RedisError:
        with _lock:
            _tallied.update(told)
        raise


def _count(redis: Redis, amounts: dict[str, float]) -> None:
    if not amounts:
        return
    with redis.pipeline() as pipe:
        for name, amount in amounts.items():
            pipe.hincrbyfloat(KEY, name, amount)
        added = pipe.execute(raise_on_error=False)
    for (name, amount), result in zip(amounts.items(), added, strict=True):
        if isinstance(result, ResponseError):  # it stood on what is no number: it begins anew
            with suppress(ResponseError):
                redis.hset(KEY, name, str(amount))


def counted(redis: Redis) -> dict[str, float]:
    """Every counter that is a number, as it stands."""
    numbers: dict[str, float] = {}
    with suppress(ResponseError):
        for name, value in cast(dict[bytes, bytes], redis.hgetall(KEY)).items():
            with suppress(ValueError):
                if isfinite(number := float(value)):
                    numbers[name.decode()] = number
    return numbers
