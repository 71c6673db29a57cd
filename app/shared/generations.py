"""Generations: accepted, followed, and ended exactly once, each in one of its three ends.

How a job lives is in `app/shared/lifecycle.py`. Here is what a generation is besides: its progress, its pictures, its
place in the list of all (`app/shared/index.py`). `app/shared/sweep.py` brings back what is lost.
"""

import builtins
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from app.shared import tracing
from app.shared.accepted import Accepted, Aside
from app.shared.errors import Conflict, Deleted, Gone, NotFound, Unavailable, Unreadable
from app.shared.following import Following
from app.shared.forgetting import Forgetting, remember_end
from app.shared.generation_keys import folder_of, image_key, manifest_key, pending_key
from app.shared.generation_records import NOTHING_ASIDE, as_it_stands, begun
from app.shared.index import GenerationIndex, unknown
from app.shared.job_records import Places
from app.shared.lifecycle import Lifecycle, live_key, now
from app.shared.log import asked_by
from app.shared.owners import Asker
from app.shared.preprocessing import digest
from app.shared.rebuild import read_all
from app.shared.records import MANIFEST, PENDING, tell
from app.shared.settings import Settings
from app.shared.stars import Stars
from app.shared.storage import Storage
from app.shared.wanted import EVERYTHING, Wanted
from app.shared.webhooks import Webhooks
from app.shared.wire.generation import (
    Failure,
    Generation,
    Image,
    Priority,
    ResolvedRequest,
    Status,
)

PLACES = Places("generations", "pending", PENDING, pending_key, MANIFEST, manifest_key)


class Ledger(Lifecycle[Accepted]):
    """Accepts generations, follows them, and ends each one exactly once."""

    def __init__(
        self,
        storage: Storage,
        redis: Redis,
        settings: Settings,
        asker: Asker = None,
        following: Following | None = None,
    ) -> None:
        """following: this process's index of generations, where there is one already."""
        super().__init__(storage, redis, settings, PLACES, asker)
        self.following = following or Following(storage, redis, settings.data_dir, self._found)
        self.index = GenerationIndex(redis, self.following, self._found, Stars(storage, redis).all, self.owner)
        self.stars = Stars(storage, redis)
        self._webhooks = Webhooks(storage, redis)
        self._forgetting = Forgetting(storage, redis, settings.keep_live_s)

    # Acceptance

    def repeat(self, idempotency_key: str | None, fingerprint: str | None) -> Generation | None:
        """The generation that was accepted with this key; None without a key, or where it is new.

        Raises Conflict where the key was used for another body, and Unreadable.
        """
        earlier = self.earlier(idempotency_key, fingerprint)
        return self.get(earlier.id) if earlier else None

    def accept(
        self,
        request: ResolvedRequest,
        *,
        idempotency_key: str | None = None,
        own: str | None = None,
        fingerprint: str | None = None,
        priority: Priority = "normal",
        aside: Aside = NOTHING_ASIDE,
    ) -> Generation:
        """Accept a resolved request and queue it; where its key was just used, what was accepted then.

        own: its id, where `id_for` was asked before.

        Once it is in storage it is accepted, whatever becomes of Redis: the sweep queues what is not queued. Raises
        Conflict when the key was used for another body, and Unavailable when there is no queue to put it on.
        """
        self.room_for(request.model, priority, request.base, needs=digest(request.preprocessors))
        accepted = begun(own or self.id_for(idempotency_key), request, priority, fingerprint, aside, self.owner)
        if self.begin(accepted) is None:
            with suppress(RedisError):
                self.queue(accepted)
        return self.get(accepted.id)

    def room_for(self, model: str, priority: Priority, base: str, more: int = 1, needs: str = "") -> None:
        """Raise Unavailable where so many wait that `more` of this priority are not taken, or nobody knows."""
        try:
            waiting = self.queues.waiting(model, priority, base, needs)  # a crowd of low ones shuts nobody else out
        except RedisError as error:
            raise Unavailable("queue_unavailable", f"the queue does not answer: {error}") from error
        self.judge_room(model, waiting, more)

    def judge_room(self, model: str, waiting: int, more: int = 1) -> None:
        """Raise Unavailable where so many wait before them that `more` for `model` are not taken."""
        if waiting + more > self._settings.max_queued:
            raise Unavailable("queue_full", f"{waiting} generations wait for model {model!r} already; try again later")

    # What the life cycle asks

    def fingerprint(self, record: Accepted) -> str | None:
        """A hash of the request's body."""
        return record.fingerprint

    def enqueue(self, record: Accepted) -> None:
        """Queue a generation by its model, base and priority."""
        request, adapters = record.generation.request, [one.sha256 for one in record.generation.request.adapters]
        urgency, needs = record.generation.priority, digest(request.preprocessors)
        self.queues.enqueue_generation(request.model, record.id, adapters, urgency, request.base, record.owner, needs)

    def remember(self, pipe: Pipeline, record: Accepted) -> None:
        """Write its live state, and take it into the list."""
        super().remember(pipe, record)
        self.index.add(pipe, record.id, record.generation.created_at, record.owner)

    def remember_end(self, pipe: Pipeline, record: Accepted, text: bytes) -> None:
        """Write the live state of one that has ended, unless it was deleted since."""
        remember_end(pipe, record.id, str(record.status), text)
        pipe.expire(live_key(record.id), self._settings.keep_live_s)

    def news(self, record: Accepted) -> dict[str, Any]:
        """Its status, and the error of one that failed."""
        error = record.generation.error
        return {"status": record.status} | ({"error": error.model_dump()} if error else {})

    def clear(self, record: Accepted) -> None:
        """Note that it has ended; delete pictures of one without success; have it told to whom it is to be told."""
        self.index.ended(record.id)
        self._webhooks.begin(record.generation, record.webhook)
        if record.status is not Status.SUCCEEDED:
            request = record.generation.request
            for index in range(request.count):
                self._storage.delete(image_key(record.id, index, request.output_format))

    def give_up(self, record: Accepted) -> None:
        """End it as failed."""
        tries = self._settings.retries + 1
        message = f"the engine or its worker died on each of {tries} tries; see the worker's log"
        self.fail(record.generation, "worker_died", message)

    def as_canceled(self, record: Accepted) -> Accepted:
        """The record of a canceled generation, which has no pictures."""
        return _ended(record.generation.model_copy(update={"status": Status.CANCELED, "images": []}), record)

    def too_late(self, record: Accepted) -> str:
        """Say how it ended."""
        return f"this generation has {record.status}; there is nothing to cancel"

    def unknown(self) -> NotFound:
        """No such generation."""
        return unknown()

    def stands(self, job_id: str) -> Accepted:
        """A generation as it stands, with the progress that Redis has; raises NotFound or Unreadable."""
        live = self.live(job_id)
        record = self.within(live, job_id)
        return record.model_copy(update={"generation": as_it_stands(record.generation, live, self._position)})

    def _position(self, generation: Generation) -> int | None:
        try:
            request = generation.request
            return self.queues.position(request.model, generation.id, request.base, digest(request.preprocessors))
        except RedisError:
            return None

    # Reading

    def get(self, generation_id: str) -> Generation:
        """A generation as it stands; raises NotFound or Unreadable."""
        return self._with_star(self.stands(generation_id).generation)

    def _with_star(self, generation: Generation) -> Generation:
        return generation.model_copy(update={"starred": bool(self.stars.among([generation.id]))})

    def _found(self, generation_id: str) -> Generation | None:
        """A generation of whoever, as Redis or storage has it, for the index; None where nobody has, or can read it."""
        live = self.read_live(generation_id)
        copies = (self.records.copy(live, which, generation_id) for which in ("final", "accepted"))
        try:
            record = next(filter(None, copies), None) or self.records.either(generation_id)
        except Gone:
            return None
        except Unreadable as error:
            tell(self._redis, error)
            return None
        return record.generation if record else None

    def accepted(self, generation_id: str) -> Accepted | None:
        """What storage has of a generation, ended or not; raises Unreadable."""
        with suppress(Deleted):
            return self.records.either(generation_id)
        return None

    def list(
        self, limit: int, before: str | None, wanted: Wanted = EVERYTHING
    ) -> tuple[builtins.list[Generation], str | None]:
        """The newest `limit` generations that are wanted and older than the one called `before`, and a cursor.

        The cursor is the last that was looked at, if there are more: an id, not a time, for many may have been stored
        in the same second. Raises NotFound for a cursor that is none, and Unavailable.
        """
        found: builtins.list[Generation] = []
        while True:
            ids, more = self.index.page(limit - len(found), before, wanted)
            found += [one for one in self.those(ids) if wanted.met_by(one)]
            before = ids[-1] if ids else None
            if len(found) >= limit or not more:
                return found, before if more else None

    def those(self, ids: Iterable[str]) -> builtins.list[Generation]:
        """The generations of these ids, but for those that nobody has, or can read; raises Unavailable."""
        return [one for one in read_all(self._listed, [*ids]) if one is not None]

    def _listed(self, generation_id: str) -> Generation | None:
        try:
            return self.get(generation_id)
        except (NotFound, Gone):
            self.index.forget(generation_id)
        except Unreadable as error:
            tell(self._redis, error)
        return None

    # On a worker

    def start(self, generation_id: str) -> Generation | None:
        """Mark a generation as running; None as `to_do` says, which raises Newer."""
        accepted = self.to_do(generation_id)
        if accepted is None:
            return None
        asked_by(accepted.request_id)
        tracing.follow(accepted.traceparent)
        started = now()
        if self.too_late_to_start(accepted, started):
            return None
        fields = {"step": "0", "device_ms": "0", "started_at": started.isoformat(), "accepted": PENDING.write(accepted)}
        self.mark(generation_id, Status.RUNNING, fields)
        return accepted.generation.model_copy(update={"status": Status.RUNNING, "started_at": started})

    def too_late_to_start(self, accepted: Accepted, when: datetime) -> bool:
        """Fail a generation that should have been begun by now and never was; say whether that was so."""
        by = accepted.generation.start_by
        # One that was begun and put back was in time
        if by is None or when <= by or "started_at" in self.read_live(accepted.id):
            return False
        seconds = (by - accepted.generation.created_at).total_seconds()
        message = (
            f"it was not begun within the {seconds:g} s that its start_within_s allows; ask again, or give it longer"
        )
        self.fail(accepted.generation, "not_started_in_time", message)
        return True

    def step(self, generation_id: str, step: int, steps: int, device_ms: int = 0) -> bool:
        """Publish progress; False when the generation has been canceled and its worker should stop.

        device_ms: for which its device has worked on it: whoever cancels it writes it down.
        """
        with self._redis.pipeline() as pipe:
            pipe.hexists(live_key(generation_id), "final")
            pipe.hsetnx(live_key(generation_id), "status", Status.RUNNING.value)  # Redis may have been emptied since
            self.set_live(pipe, generation_id, {"step": str(step), "device_ms": str(device_ms)})
            self.publish(pipe, generation_id, "progress", {"step": step, "steps": steps})
            ended = pipe.execute()[0]
        return not ended

    def ended(self, generation_id: str) -> bool:
        """True if the generation was ended by somebody else while a worker draws it."""
        return bool(self._redis.hexists(live_key(generation_id), "final"))

    def image(self, generation_id: str, image: Image) -> None:
        """Publish that a picture is in storage."""
        self.publish(self._redis, generation_id, "image", image.model_dump(mode="json"))

    # Ends

    def finish(self, generation: Generation) -> bool:
        """End a generation as its status says; False when it had ended before, and then nothing changes."""
        pending = None
        with suppress(Unreadable):
            pending = self.records.pending(generation.id)
        return self.conclude(_ended(generation, pending))

    def end(self, generation_id: str) -> Generation | None:
        """How a generation ended, as storage has it; None while it has not, or once deleted. Raises Unreadable."""
        ended = None
        with suppress(Deleted):
            ended = self.records.ended(generation_id)
        return ended.generation if ended else None

    def fail(self, generation: Generation, code: str, message: str) -> bool:
        """End a generation as failed."""
        failure = Failure(code=code, message=message)
        return self.finish(generation.model_copy(update={"status": Status.FAILED, "error": failure, "images": []}))

    def cancel(self, generation_id: str) -> Generation:
        """Cancel a generation, queued or running; a worker on it stops at its next step.

        Raises NotFound, Conflict when it has succeeded or failed already, and Unreadable.
        """
        return self._with_star(self.withdraw(generation_id).generation)

    def discard(self, generation: Generation) -> None:
        """Delete the pictures of a generation that ended without success.

        Nothing happens when it succeeded, or has not ended: another worker may have drawn, or be drawing, the same.
        """
        with suppress(Unreadable):  # its end may be success: better a picture too many
            try:
                if ended := self.records.ended(generation.id):
                    self.clear(ended)
            except Deleted:  # it was canceled and deleted while it was drawn
                self._forgetting.finish(generation.id)

    # Kept and deleted

    def star(self, generation_id: str, starred: bool) -> Generation:
        """Have a generation kept whatever its age, or no longer; raises NotFound, Gone, Unreadable and RedisError."""
        self.known(generation_id)  # before it becomes a key, and before anybody else's gets a star
        if not (self.stars.give(generation_id) if starred else self.stars.take(generation_id)):
            raise Gone("generation_deleted", "this generation is being deleted for its age, just now")
        try:
            return self.get(generation_id)
        except (NotFound, Gone):  # it was deleted meanwhile
            self.stars.forget(generation_id)
            raise

    def delete(self, generation_id: str) -> None:
        """Delete a generation that has ended, with its pictures.

        Raises NotFound, Conflict where it has not ended, Unreadable, RedisError, and Gone where it was deleted before:
        then what was left of it is gone too.
        """
        try:
            record = self.latest(generation_id)
        except Gone:
            self._forgetting.finish(generation_id)
            raise
        if not record.status.ended:
            raise Conflict("not_ended", "this generation has not ended; cancel it first")
        self._forgetting.forget(record.generation)

    def remove(self, generation_id: str) -> None:
        """Clear away a generation whose record nobody can read: records, pictures, its place in the queue."""
        self.queues.drop(generation_id)
        self._storage.delete(pending_key(generation_id))  # it says that the generation was accepted, so it goes first
        for key in sorted(self._storage.keys(folder_of(generation_id)), key=manifest_key(generation_id).__eq__):
            self._storage.delete(key)
        self._redis.delete(live_key(generation_id))
        self.stars.forget(generation_id)
        self.index.forget(generation_id)


def _ended(generation: Generation, before: Accepted | None) -> Accepted:
    """The record of a generation that ends now; before: as it was accepted, where that can be read."""
    now_over = generation.model_copy(update={"queue_position": None, "finished_at": now()})
    return before.model_copy(update={"generation": now_over}) if before else Accepted(generation=now_over)
