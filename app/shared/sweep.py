"""Nothing accepted is lost: Redis is brought back in line with storage, every few seconds, by one of the workers.

Everything pending in storage is judged, whatever its queue is called. What no worker lives for, and no configured model
is, ends with a reason, a minute after that was seen first: another machine may have another model, and be restarting.

Key `radiata:impossible`: hash, a generation that nobody here can draw to when that was seen first; each look anew.
"""

import time
from collections.abc import Collection
from typing import cast

from redis import Redis
from rq.job import JobStatus

from app.shared.errors import Unreadable
from app.shared.holdings import holdings
from app.shared.ledger import Ledger
from app.shared.lost import Look, Lost, look, queues_of
from app.shared.queue import INTAKE, model_of
from app.shared.records import tell
from app.shared.schema import Accepted
from app.shared.settings import Settings
from app.shared.storage import Storage

IMPOSSIBLE = "radiata:impossible"
GRACE_S = 60.0
DEAD = (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


class Sweep:
    """Queues what is lost, ends what cannot go on."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._ledger = Ledger(storage, redis, settings)
        self._queues = self._ledger.queues
        self._lost = Lost(redis, self._queues, settings, "generations")

    def run(self) -> None:
        """Look once at everything that is pending, for no longer than until the next look is due."""
        until = time.monotonic() + self._settings.sweep_every_s
        seen = look(self._redis, queues_of(self._redis, self._settings))
        pending = {key.removeprefix("pending/").removesuffix(".json") for key in self._storage.keys("pending")}
        self._end_impossible(pending, seen)
        for generation_id, status in self._lost.among(pending, seen):
            try:
                self._bring_back(generation_id, status)
            except Unreadable as error:  # nobody can make work of it; the others must not wait for that
                tell(self._redis, error)
                self._queues.drop(generation_id)
            if time.monotonic() > until:
                break

    def _bring_back(self, generation_id: str, status: JobStatus | None) -> None:
        if self._ledger.close_again(generation_id):
            self._queues.drop(generation_id)
            return
        accepted = self._ledger.accepted(generation_id)
        if accepted is None:
            return  # ended between two looks
        if status in DEAD:
            self._ledger.fail(
                accepted.generation,
                "worker_died",
                f"the engine or its worker died on each of {self._settings.retries + 1} tries; see the worker's log",
            )
            return
        self._queues.drop(generation_id)
        self._ledger.queue(accepted)

    def _end_impossible(self, pending: Collection[str], seen: Look) -> None:
        """End what waits in queues that nobody serves and that are none of a configured model."""
        foreign = {name for name in seen.waiting if name != INTAKE and model_of(name) not in self._settings.models}
        waiting = [one for name in foreign for one in seen.waiting[name] if one in pending]
        if waiting:
            served = {worker.model for worker in holdings(self._redis)}
            waiting = [one for name in foreign if model_of(name) not in served for one in seen.waiting[name]]
        earlier = cast(dict[bytes, bytes], self._redis.hgetall(IMPOSSIBLE)) if waiting else {}
        first_seen = {one: float(earlier.get(one.encode(), time.time())) for one in waiting}
        with self._redis.pipeline() as pipe:
            pipe.delete(IMPOSSIBLE)
            if first_seen:
                pipe.hset(IMPOSSIBLE, mapping={one: str(since) for one, since in first_seen.items()})
            pipe.execute()
        for one, since in first_seen.items():
            if abs(time.time() - since) >= GRACE_S:
                try:
                    if accepted := self._ledger.accepted(one):
                        self._end(accepted)
                except Unreadable as error:
                    tell(self._redis, error)
                self._queues.drop(one)

    def _end(self, accepted: Accepted) -> None:
        model = accepted.generation.request.model
        self._ledger.fail(
            accepted.generation,
            "model_removed",
            f"no worker draws with model {model!r} any more, and it is not in RADIATA_MODELS: ask for another model",
        )
