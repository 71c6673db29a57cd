"""What each generation worker holds: said by the worker with every heartbeat, read by whoever asks.

| Redis key | type | what | lives |
|---|---|---|---|
| `radiata:worker:<name>` | string | a `WorkerHoldings` as JSON; written by that worker, read by the API | seconds |
| `radiata:alive:<model>` | string | a worker of that model lived; read by an API that was started since | longer |

Choosing does not need it: a worker knows what it holds itself.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal, cast

from pydantic import ConfigDict, ValidationError
from redis import Redis
from redis.client import Pipeline
from rq import Worker

from app.shared.schema import Wire

ALIVE = "radiata:alive:"
_RQ_PREFIX = Worker.redis_worker_namespace_prefix


class WorkerHoldings(Wire):
    """A worker, and what its engine wears and holds; what a newer worker says besides is left out."""

    model_config = ConfigDict(extra="ignore")

    name: str
    model: str
    base: str = ""  # fingerprint of the base that its engine has loaded
    host: str
    state: Literal["starting", "started", "idle", "busy", "suspended"]  # RQ's words
    worn: list[str]  # sha256 of the adapters that the model wears
    resident: list[str]  # sha256 of adapters in its memory, most of them if they are very many
    since: datetime  # when `worn` last changed


def publish(redis: Redis | Pipeline, holdings: WorkerHoldings, keep_s: int, remember_s: float = 0) -> None:
    """Say what a worker holds, believed for `keep_s` seconds, and that it lived, remembered for `remember_s`."""
    redis.set(_key(holdings.name), holdings.model_dump_json(), ex=keep_s)
    if remember_s > 0:
        redis.set(f"{ALIVE}{holdings.model}", 1, px=int(remember_s * 1000))


def lately_alive(redis: Redis, models: Collection[str]) -> set[str]:
    """Those of the models of which a worker lived not long ago."""
    names = list(models)
    found = redis.mget([f"{ALIVE}{name}" for name in names])
    return {name for name, one in zip(names, found, strict=True) if one}  # type: ignore[arg-type]


def withdraw(redis: Redis, name: str) -> None:
    """Say that a worker has ended."""
    redis.delete(_key(name))


def holdings(redis: Redis) -> list[WorkerHoldings]:
    """Every generation worker that lives, by model and name."""
    keys = cast(set[bytes], redis.smembers(Worker.redis_workers_keys))
    names = sorted(key.decode(errors="replace").removeprefix(_RQ_PREFIX) for key in keys)
    texts = cast(list[bytes | None], redis.mget([_key(name) for name in names]) if names else [])
    return sorted(_read(texts), key=lambda one: (one.model, one.name))


def other_bases(redis: Redis, served: Mapping[str, str]) -> dict[str, list[str]]:
    """Bases that living workers have under a model's name, and that are not the one that is `served` there.

    They draw only what was accepted for them. Raises RedisError.
    """
    others: dict[str, set[str]] = {}
    for one in holdings(redis):
        if one.base and one.model in served and one.base != served[one.model]:
            others.setdefault(one.model, set()).add(one.base)
    return {model: sorted(bases) for model, bases in others.items()}


def _read(texts: list[bytes | None]) -> Iterator[WorkerHoldings]:
    for text in texts:
        with suppress(ValidationError):  # Redis is data too: whoever says what we cannot read is left out
            if text:
                yield WorkerHoldings.model_validate_json(text)


def _key(name: str) -> str:
    return f"radiata:worker:{name}"
