"""Counters that workers add to and the API shows.

Key `radiata:metrics`: hash, counter name to a number; written by engines, read by `/metrics`; never expires.
"""

from typing import cast

from redis import Redis

KEY = "radiata:metrics"


def of_tier(figure: str, tier: str) -> str:
    """The counter that holds a figure of one tier of the adapter cache."""
    return f"adapter_tier_{figure}:{tier}"


def count(redis: Redis, amounts: dict[str, float]) -> None:
    """Add to counters, all at once."""
    with redis.pipeline() as pipe:
        for name, amount in amounts.items():
            pipe.hincrbyfloat(KEY, name, amount)
        pipe.execute()


def counted(redis: Redis) -> dict[str, float]:
    """Every counter as it stands."""
    raw = cast(dict[bytes, bytes], redis.hgetall(KEY))
    return {name.decode(): float(value) for name, value in raw.items()}
