"""What each generation worker holds: said by the worker with every heartbeat, read by whoever asks.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:worker:<name>` | string | a `WorkerState` as JSON; written by that worker, read by the API | seconds |
| `radiata:alive:<model>[@<base>]` | string | one of that base lived; read by an API that was started since | longer |
| `radiata:alive:train:<model>` | string | one that trains on that model lived | longer |
| `radiata:unservable:<model>` | string | why an engine could not load it; gone when one could | a day |

Choosing does not need it: a worker knows what it holds itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal, cast

from pydantic import ConfigDict, Field, ValidationError
from redis import Redis
from redis.client import Pipeline
from rq import Worker

from app.shared.wire.values import Wire

ALIVE = "radiata:alive:"
UNSERVABLE = "radiata:unservable:"
TOLD_S = 86400
LONGEST = 1000  # characters of a sentence that are kept, and that are read: Redis is data too
_RQ_PREFIX = Worker.redis_worker_namespace_prefix


class WorkerState(Wire):
    """A worker, and what is active and resident in its engine; fields of a newer worker are left out."""

    model_config = ConfigDict(extra="ignore")

    name: str
    model: str
    base: str = ""  # fingerprint of the base that its engine has loaded
    preprocessors: dict[str, list[str]] = Field(
        default={}, description="kind of map -> fingerprints of what makes it there; none of what was not fetched yet"
    )
    host: str
    state: Literal["starting", "started", "idle", "busy", "suspended"]  # RQ's words
    active: list[str]  # sha256 of the adapters that are on the model
    resident: list[str]  # sha256 of adapters in its memory, most of them if they are very many
    since: datetime  # when `.active` last changed


def publish(redis: Redis | Pipeline, state: WorkerState, keep_s: int, remember_s: float = 0) -> None:
    """Say what a worker holds, believed for `keep_s` seconds, and that it lived, remembered for `remember_s`."""
    redis.set(_key(state.name), state.model_dump_json(), ex=keep_s)
    tell_alive(redis, state.model, state.base, remember_s)


def tell_alive(redis: Redis | Pipeline, model: str, base: str, remember_s: float) -> None:
    """Say that a worker of that model and base lives, remembered for so long; at 0 and below nothing is said."""
    if remember_s > 0:
        redis.set(_alive_key(model, base), 1, px=int(remember_s * 1000))


def lately_alive(redis: Redis, model: str, base: str) -> bool:
    """Whether a worker of that model and base, or one that does not say its base, lived not long ago."""
    return bool(redis.exists(_alive_key(model, base), _alive_key(model, "")))


def withdraw(redis: Redis, name: str) -> None:
    """Say that a worker has ended."""
    redis.delete(_key(name))


def tell_unservable(redis: Redis, model: str, why: str) -> None:
    """Say why a model could not be loaded; empty: it was."""
    if why:
        redis.set(UNSERVABLE + model, why[:LONGEST], ex=TOLD_S)
    else:
        redis.delete(UNSERVABLE + model)


def unservable(redis: Redis, models: Sequence[str]) -> dict[str, str]:
    """Those of the models that could not be loaded the last time, and why."""
    texts = cast(list[bytes | None], redis.mget([UNSERVABLE + model for model in models]) if models else [])
    return {model: text.decode(errors="replace")[:LONGEST] for model, text in zip(models, texts, strict=True) if text}


def worker_states(redis: Redis) -> list[WorkerState]:
    """Every generation worker that lives, by model and name."""
    keys = cast(set[bytes], redis.smembers(Worker.redis_workers_keys))
    names = sorted(key.decode(errors="replace").removeprefix(_RQ_PREFIX) for key in keys)
    texts = cast(list[bytes | None], redis.mget([_key(name) for name in names]) if names else [])
    return sorted(_read(texts), key=lambda one: (one.model, one.name))


def other_bases(workers: Iterable[WorkerState], served: Mapping[str, str]) -> dict[str, list[str]]:
    """Bases that living workers have under a model's name, and that are not the one that is `served` there.

    They draw only what was accepted for them.
    """
    others: dict[str, set[str]] = {}
    for one in workers:
        if one.base and one.model in served and one.base != served[one.model]:
            others.setdefault(one.model, set()).add(one.base)
    return {model: sorted(bases) for model, bases in others.items()}


def _read(texts: list[bytes | None]) -> Iterator[WorkerState]:
    for text in texts:
        with suppress(ValidationError):  # Redis is data too: whoever says what we cannot read is left out
            if text:
                yield WorkerState.model_validate_json(text)


def _alive_key(model: str, base: str) -> str:
    return f"{ALIVE}{model}@{base}" if base else f"{ALIVE}{model}"


def _key(name: str) -> str:
    return f"radiata:worker:{name}"
