"""The life of a generation, from acceptance to exactly one of its three ends.

Storage is the truth, Redis the fast copy. A generation is accepted by writing `pending/<id>.json` and ended by
*creating* `generations/<id>/manifest.json`: whoever creates it first (engine, canceller, sweeper) has decided, and
everyone else finds out. So killing any process, or emptying Redis, loses nothing: what is pending and unknown to RQ
is queued again by `sweep`.

Its records are read by `app/shared/generation_records.py`, the list of all is `app/shared/index.py`'s, and what is
lost is brought back by `app/shared/sweep.py`.
"""

import builtins
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from redis.typing import EncodableT, FieldT

from app.shared.errors import Conflict, NotFound, Unavailable, Unreadable
from app.shared.events import publish
from app.shared.generation_records import GenerationRecords, image_key, live_key, manifest_key, pending_key
from app.shared.index import GenerationIndex, unknown
from app.shared.job import ID
from app.shared.queue import Queues
from app.shared.records import tell
from app.shared.schema import Accepted, Failure, Generation, Image, Priority, Progress, ResolvedRequest, Status
from app.shared.settings import Settings
from app.shared.storage import Storage


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def generation_id_for(idempotency_key: str | None) -> str:
    """A fresh id (32 hex digits), or the one id that belongs to an idempotency key."""
    if idempotency_key is None:
        return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
    return sha256(b"radiata idempotency key\0" + idempotency_key.encode()).hexdigest()[:32]


def begun(generation_id: str, request: ResolvedRequest, priority: Priority, fingerprint: str | None) -> Accepted:
    """A generation as it is written down when it is accepted, now."""
    generation = Generation(
        id=generation_id,
        status=Status.QUEUED,
        priority=priority,
        progress=Progress(steps=request.steps * request.count),
        request=request,
        created_at=now(),
    )
    return Accepted(generation=generation, fingerprint=fingerprint)


def as_it_stands(
    generation: Generation, live: Mapping[str, str], position: Callable[[Generation], int | None]
) -> Generation:
    """What was accepted, as Redis says that it stands; position: asked where it waits."""
    if generation.status.ended:
        return generation
    if live.get("status") != Status.RUNNING:
        return generation.model_copy(update={"queue_position": position(generation)})
    running: dict[str, Any] = {"status": Status.RUNNING}
    with suppress(ValueError):  # Redis is data too
        step = min(int(live.get("step", 0)), generation.progress.steps)
        running["progress"] = Progress(step=step, steps=generation.progress.steps)
    with suppress(ValueError, KeyError):
        running["started_at"] = datetime.fromisoformat(live["started_at"])
    return generation.model_copy(update=running)


class Ledger:
    """Accepts generations, follows them, and ends each one exactly once."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._records = GenerationRecords(storage, redis)
        self.queues = Queues(redis, settings)
        self.index = GenerationIndex(storage, redis)

    # Acceptance

    def accept(
        self,
        resolve: Callable[[], ResolvedRequest],
        *,
        idempotency_key: str | None = None,
        fingerprint: str | None = None,
        priority: Priority = "normal",
    ) -> Generation:
        """Accept what `resolve` makes of a request and queue it; with a known idempotency key, what it was before.

        Once it is in storage it is accepted, whatever becomes of Redis: `sweep` queues what is not queued. Raises
        Conflict when the key was used for another body, Unavailable when there is no queue to put it on, and whatever
        `resolve` raises.
        """
        generation_id = generation_id_for(idempotency_key)
        if idempotency_key is not None and (earlier := self.accepted(generation_id)):
            return self._same_body(earlier, fingerprint)
        request = resolve()
        self._room_for(request.model, priority, request.base)
        accepted = begun(generation_id, request, priority, fingerprint)
        if not self._storage.create(pending_key(generation_id), accepted.model_dump_json().encode()):
            return self._same_body(self._must(self.accepted(generation_id)), fingerprint)
        with suppress(RedisError):
            self.queue(accepted)
        return self.get(generation_id)

    def queue(self, accepted: Accepted) -> None:
        """Tell listeners and RQ of what is in storage already; for `accept` and the sweep."""
        generation = accepted.generation
        with self._redis.pipeline() as pipe:
            pipe.hset(live_key(generation.id), mapping=_live(accepted))
            pipe.expire(live_key(generation.id), self._settings.keep_live_s)
            self.index.add(pipe, generation.id, generation.created_at)
            publish(pipe, generation.id, "status", {"status": Status.QUEUED}, self._settings.keep_live_s)
            pipe.execute()
        request = generation.request
        adapters = [one.sha256 for one in request.adapters]
        self.queues.enqueue_generation(request.model, generation.id, adapters, generation.priority, request.base)

    def _room_for(self, model: str, priority: Priority, base: str) -> None:
        try:
            waiting = self.queues.waiting(model, priority, base)  # a crowd of low ones shuts nobody else out
        except RedisError as error:
            raise Unavailable("queue_unavailable", f"the queue does not answer: {error}") from error
        self.room_for(model, waiting)

    def room_for(self, model: str, waiting: int) -> None:
        """Raise Unavailable where so many wait before it that one more for `model` is not taken."""
        if waiting >= self._settings.max_queued:
            raise Unavailable("queue_full", f"{waiting} generations wait for model {model!r} already; try again later")

    def _same_body(self, earlier: Accepted, fingerprint: str | None) -> Generation:
        if earlier.fingerprint != fingerprint:
            raise Conflict(
                "idempotency_key_reused",
                "this Idempotency-Key was used for another body; use a new key for a new request",
            )
        return self.get(earlier.generation.id)

    # Reading

    def get(self, generation_id: str) -> Generation:
        """A generation as it stands; raises NotFound or Unreadable."""
        if not ID.fullmatch(generation_id):
            raise unknown()  # before it becomes a key
        live = self._records.live(generation_id)
        if final := self._records.copy(live, "final", generation_id):
            return final.generation
        accepted = self._records.copy(live, "accepted", generation_id) or self._must(self.accepted(generation_id))
        return as_it_stands(accepted.generation, live, self._position)

    def _position(self, generation: Generation) -> int | None:
        try:
            return self.queues.position(generation.request.model, generation.id, generation.request.base)
        except RedisError:
            return None

    def accepted(self, generation_id: str) -> Accepted | None:
        """What storage has of a generation, ended or not; raises Unreadable."""
        return self._records.either(generation_id)

    def _must(self, accepted: Accepted | None) -> Accepted:
        if accepted is None:
            raise unknown()
        return accepted

    def list(self, limit: int, before: str | None) -> tuple[list[Generation], str | None]:
        """The newest `limit` generations older than the one called `before`, and the last of them if there are more.

        The cursor is an id, not a time: many may have been stored in the same second. Raises NotFound for a cursor
        that is none.
        """
        ids, more = self.index.page(limit, before)
        return self.those(ids), ids[-1] if more else None

    def those(self, ids: Iterable[str]) -> builtins.list[Generation]:
        """The generations of these ids, but for those that nobody has, or can read."""
        generations = []
        for generation_id in ids:
            try:
                generations.append(self.get(generation_id))
            except NotFound:
                self.index.forget(generation_id)
            except Unreadable as error:
                tell(self._redis, error)
        return generations

    # On a worker

    def start(self, generation_id: str) -> Generation | None:
        """Mark a generation as running; None when it has ended, was never accepted, or is not to be read."""
        try:
            accepted = self._records.pending(generation_id)
            if accepted is None or self.close_again(generation_id):
                return None
        except Unreadable as error:  # no other try could read it either
            tell(self._redis, error)
            return None
        started = now()
        with self._redis.pipeline() as pipe:
            fields: dict[FieldT, EncodableT] = {
                "status": Status.RUNNING.value,
                "step": 0,
                "started_at": started.isoformat(),
                "accepted": accepted.model_dump_json(),
            }
            pipe.hset(live_key(generation_id), mapping=fields)
            pipe.expire(live_key(generation_id), self._settings.keep_live_s)
            publish(pipe, generation_id, "status", {"status": Status.RUNNING}, self._settings.keep_live_s)
            pipe.execute()
        return accepted.generation.model_copy(update={"status": Status.RUNNING, "started_at": started})

    def put_back(self, generation_id: str) -> None:
        """Mark a generation that was started as waiting again."""
        status = Status.QUEUED.value
        with self._redis.pipeline() as pipe:
            pipe.hset(live_key(generation_id), "status", status)
            pipe.expire(live_key(generation_id), self._settings.keep_live_s)
            publish(pipe, generation_id, "status", {"status": status}, self._settings.keep_live_s)
            pipe.execute()

    def step(self, generation_id: str, step: int, steps: int) -> bool:
        """Publish progress; False when the generation has been canceled and its worker should stop."""
        key = live_key(generation_id)
        with self._redis.pipeline() as pipe:
            pipe.hexists(key, "final")
            pipe.hset(key, "step", str(step))
            pipe.hsetnx(key, "status", Status.RUNNING.value)  # Redis may have been emptied since the start
            pipe.expire(key, self._settings.keep_live_s)
            publish(pipe, generation_id, "progress", {"step": step, "steps": steps}, self._settings.keep_live_s)
            ended = pipe.execute()[0]
        return not ended

    def ended(self, generation_id: str) -> bool:
        """Tell whether somebody has ended a generation that a worker is at, as `step` does, without a step."""
        return bool(self._redis.hexists(live_key(generation_id), "final"))

    def image(self, generation_id: str, image: Image) -> None:
        """Publish that a picture is in storage."""
        publish(self._redis, generation_id, "image", image.model_dump(mode="json"), self._settings.keep_live_s)

    # Ends

    def finish(self, generation: Generation) -> bool:
        """End a generation as its status says; False when it had ended before, and then nothing changes."""
        pending = None
        with suppress(Unreadable):
            pending = self._records.pending(generation.id)
        ended = Accepted(
            generation=generation.model_copy(update={"queue_position": None, "finished_at": now()}),
            fingerprint=pending.fingerprint if pending else None,
        )
        text = ended.model_dump_json()
        if not self._storage.create(manifest_key(generation.id), text.encode()):
            return False
        self._close(ended, text)
        return True

    def _close(self, ended: Accepted, text: str) -> None:
        generation = ended.generation
        self._announce(ended, text)
        if generation.status is not Status.SUCCEEDED:
            self._clear(generation)
        self._storage.delete(pending_key(generation.id))

    def close_again(self, generation_id: str) -> bool:
        """Tell again of an end that storage knows, if it does, and say so."""
        # Whoever ended it may have died before anybody was told
        ended = self._records.ended(generation_id)
        if ended is not None:
            self._close(ended, ended.model_dump_json())
        return ended is not None

    def end(self, generation_id: str) -> Generation | None:
        """How a generation ended, as storage has it; None while it has not. Raises Unreadable."""
        ended = self._records.ended(generation_id)
        return ended.generation if ended else None

    def discard(self, generation: Generation) -> None:
        """Clear away the pictures of a generation that ended without success.

        Nothing happens when it succeeded, or has not ended: another worker may have drawn, or be drawing, the same.
        """
        with suppress(Unreadable):  # its end may be success: better a picture too many
            end = self.end(generation.id)
            if end is not None and end.status is not Status.SUCCEEDED:
                self._clear(generation)

    def _clear(self, generation: Generation) -> None:
        for index in range(generation.request.count):
            self._storage.delete(image_key(generation.id, index))

    def _announce(self, ended: Accepted, text: str) -> None:
        generation = ended.generation
        data: dict[str, Any] = {"status": generation.status}
        if generation.error:
            data["error"] = generation.error.model_dump()
        with self._redis.pipeline() as pipe:
            pipe.hset(live_key(generation.id), mapping={"status": generation.status.value, "final": text})
            pipe.expire(live_key(generation.id), self._settings.keep_live_s)
            publish(pipe, generation.id, "status", data, self._settings.keep_live_s)
            pipe.execute()

    def fail(self, generation: Generation, code: str, message: str) -> bool:
        """End a generation as failed."""
        failure = Failure(code=code, message=message)
        return self.finish(generation.model_copy(update={"status": Status.FAILED, "error": failure, "images": []}))

    def cancel(self, generation_id: str) -> Generation:
        """Cancel a generation, queued or running; a worker on it stops at its next step.

        Raises NotFound, Conflict when it has succeeded or failed already, and Unreadable.
        """
        generation = self.get(generation_id)
        if not generation.status.ended:
            self.finish(generation.model_copy(update={"status": Status.CANCELED, "images": []}))
            if generation.status is Status.QUEUED:
                self.queues.drop(generation_id)
        generation = self.end(generation_id) or generation  # the worker may have been first
        if generation.status is not Status.CANCELED:
            raise Conflict("already_ended", f"this generation has {generation.status}; there is nothing to cancel")
        return generation

    def remove(self, generation_id: str) -> None:
        """Clear away a generation whose record nobody can read: records, pictures, its place in the queue."""
        self.queues.drop(generation_id)
        self._records.remove(generation_id)
        self._redis.delete(live_key(generation_id))
        self.index.forget(generation_id)


def _live(accepted: Accepted) -> dict[FieldT, EncodableT]:
    return {"accepted": accepted.model_dump_json(), "status": Status.QUEUED.value}
