"""What each generation worker holds: said by the worker with every heartbeat, read by whoever asks.

Key `radiata:worker:<name>`: string, a `WorkerHoldings` as JSON; written by that worker, read by `GET /v1/workers`;
gone soon after the worker has fallen silent. Choosing does not need it: a worker knows what it holds itself.
"""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict
from redis import Redis
from redis.client import Pipeline
from rq import Worker

from app.shared.schema import Wire

_RQ_PREFIX = Worker.redis_worker_namespace_prefix


class WorkerHoldings(Wire):
    """A worker, and what its engine wears and holds; what a newer worker says besides is left out."""

    model_config = ConfigDict(extra="ignore")

    name: str
    model: str
    host: str
    state: Literal["starting", "started", "idle", "busy", "suspended"]  # RQ's words
    worn: list[str]  # sha256 of the adapters that the model wears
    resident: list[str]  # sha256 of adapters in its memory, most of them if they are very many
    since: datetime  # when `worn` last changed


def publish(redis: Redis | Pipeline, holdings: WorkerHoldings, keep_s: int) -> None:
    """Say what a worker holds; it is believed for `keep_s` seconds."""
    redis.set(_key(holdings.name), holdings.model_dump_json(), ex=keep_s)


def withdraw(redis: Redis, name: str) -> None:
    """Say that a worker has ended."""
    redis.delete(_key(name))


def holdings(redis: Redis) -> list[WorkerHoldings]:
    """Every generation worker that lives, by model and name."""
    names = sorted(key.removeprefix(_RQ_PREFIX) for key in Worker.all_keys(connection=redis))
    texts = redis.mget([_key(name) for name in names]) if names else []
    found = [WorkerHoldings.model_validate_json(text) for text in texts if text]  # type: ignore[union-attr]
    return sorted(found, key=lambda one: (one.model, one.name))


def _key(name: str) -> str:
    return f"radiata:worker:{name}"
