"""Counters that workers add to and the API shows.

Key `radiata:metrics`: hash, counter name to a number; written by engines, read by `/metrics`; never expires.
"""

from contextlib import suppress
from math import isfinite
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError

KEY = "radiata:metrics"


def of_tier(figure: str, tier: str) -> str:
    """The counter that holds a figure of one tier of the adapter cache."""
    return f"adapter_tier_{figure}:{tier}"


def count(redis: Redis, amounts: dict[str, float]) -> None:
    """Add to counters, all at once."""
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
