"""The life of a job of any kind: accepted by creating one record, ended by creating another, swept in between.

Storage is the truth, Redis the fast copy. A job is accepted by writing its pending record, and ended by *creating* its
end: whoever creates it first (worker, canceller, sweeper) has decided, and everyone else finds out. So killing any
process, or emptying Redis, loses nothing: a job that is pending and unknown to RQ is queued again by the sweep.

A kind of job is a subclass: it says where its records are (`Places`), how it is queued, what its end clears away and
what happens when its worker died on every try. Generations are one (`app/shared/generations.py`), uploads another
(`app/shared/uploads.py`).

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:live:<id>` | hash | `accepted` (JSON), `status`, `step`, `started_at`, `final` (JSON) | `keep_live_s` |
"""

import math
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Generic, cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError
from redis.typing import EncodableT, FieldT
from rq.job import JobStatus

from app.shared.accepted import TOLD_FOR
from app.shared.errors import Conflict, Deleted, Newer, NotFound, Unreadable
from app.shared.events import publish
from app.shared.job import ID
from app.shared.job_records import JobRecords, Places, R
from app.shared.kinds import OF_JOB, mend
from app.shared.living import KNOWN, LIVING, living_key
from app.shared.lost import Look, Lost
from app.shared.owners import FIRST, Asker
from app.shared.queue import Queues
from app.shared.records import tell
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status

SALT = "radiata idempotency key"  # of generations
SINCE, UNTIL = 1_500_000_000, 5_000_000_000  # seconds: an id that begins with a time of the years 2017 to 2128 is fresh
DEAD = (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def live_key(job_id: str) -> str:
    """Live state of a job, in Redis."""
    return f"radiata:live:{job_id}"


def id_for(idempotency_key: str | None, owner: str = FIRST, salt: str = SALT) -> str:
    """A fresh id (32 hex digits), or the one id that belongs to an idempotency key of an owner.

    salt: another one for each kind of job. Neither owner nor key holds a NUL.
    """
    if idempotency_key is None:
        milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
        return f"{milliseconds:012x}{rest_ns // 1000:03x}{secrets.token_hex(9)[1:]}"  # of one millisecond in order too
    parts = [salt, owner, idempotency_key] if owner else [salt, idempotency_key]
    found = sha256("\0".join(parts).encode()).hexdigest()[:32]
    # One hash in eighty begins like a time, and would stand in the list where that time is: in 2080, say
    return found if time_in(found) is None else f"f{found[1:]}"


def time_in(job_id: str) -> float | None:
    """When a fresh id was made, in seconds; None where an idempotency key made the id."""
    seconds = int(job_id[:12], 16) / 1000
    return seconds if SINCE < seconds < UNTIL else None


class Lifecycle(ABC, Generic[R]):
    """Accepts jobs of one kind, follows them, and ends each one exactly once."""

    salt = SALT  # of the ids that idempotency keys make; another one for each kind of job that takes them

    def __init__(
        self, storage: Storage, redis: Redis, settings: Settings, places: Places[R], asker: Asker = None
    ) -> None:
        """asker: as whom jobs are looked for: nobody else's are there."""
        self._asker = asker
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._places = places
        self.queues = Queues(redis, settings)
        self.records = JobRecords(places, storage, self.read_live)
        self._lost = Lost(redis, self.queues, settings, places.name)

    # What a kind of job says of itself

    @abstractmethod
    def enqueue(self, record: R) -> None:
        """Put a job on its queue; queueing it twice is the same as once."""

    @abstractmethod
    def clear(self, record: R) -> None:
        """Clear away what an end leaves over, besides the pending record."""

    @abstractmethod
    def give_up(self, record: R) -> None:
        """End a job whose worker died on every try."""

    @abstractmethod
    def as_canceled(self, record: R) -> R:
        """The record of a job that ends by being canceled."""

    @abstractmethod
    def too_late(self, record: R) -> str:
        """Why a job can not be canceled any more, in a sentence."""

    @abstractmethod
    def unknown(self) -> NotFound:
        """The error for an id that nobody has."""

    def fingerprint(self, record: R) -> str | None:
        """A hash of the body that was sent with an idempotency key."""
        return None

    def news(self, record: R) -> dict[str, Any]:
        """Data of the event that tells of a job's status."""
        return {"status": record.status}

    def may_cancel(self, record: R) -> bool:
        """Whether a job that has not ended can still be canceled; from then on nothing else may become of it."""
        return True

    def stands(self, job_id: str) -> R:
        """A job as it stands; raises NotFound or Unreadable."""
        return self.known(job_id)

    @property
    def owner(self) -> str:
        """Whose is what is accepted here."""
        return self._asker or FIRST

    # Acceptance

    def id_for(self, idempotency_key: str | None) -> str:
        """A fresh id, or the one id that belongs to an idempotency key of whoever asks, for a job of this kind."""
        return id_for(idempotency_key, self.owner, self.salt)

    def earlier(self, idempotency_key: str | None, fingerprint: str | None) -> R | None:
        """What was accepted with this key; None without a key, or where it is new.

        Raises Conflict where the key was used for another body, and Unreadable.
        """
        if idempotency_key is None:
            return None
        record = self.records.either(self.id_for(idempotency_key))
        return None if record is None else self._same(record, fingerprint)

    def begin(self, record: R) -> R | None:
        """Accept a job; from then on it is, whatever becomes of Redis. None for a new one, else what was there before.

        Queueing it is a step of its own: `queue`, or the sweep. Raises Conflict as `earlier` does.
        """
        text = self._places.pending.write(record)
        if self._storage.create(self._places.pending_key(record.id), text):
            return None
        earlier = self.records.either(record.id)
        if earlier is None:
            raise self.unknown()
        return self._same(earlier, self.fingerprint(record))

    def _same(self, earlier: R, fingerprint: str | None) -> R:
        if self.fingerprint(earlier) != fingerprint:
            raise Conflict(
                "idempotency_key_reused",
                "this Idempotency-Key was used for another body; use a new key for a new request",
            )
        return self._flushed(earlier)

    def _flushed(self, record: R) -> R:
        """A record that was read, once a power cut cannot take it: whoever wrote it may not have come so far."""
        key = self._places.ended_key if record.status.ended else self._places.pending_key
        self._storage.flush(key(record.id))
        return record

    def queue(self, record: R) -> None:
        """Tell listeners and RQ of a job that is in storage already."""
        with self._redis.pipeline() as pipe:
            self.remember(pipe, record)
            self.publish(pipe, record.id, "status", self.news(record))
            pipe.execute()
        self.enqueue(record)

    # Reading

    def known(self, job_id: str) -> R:
        """What was accepted, or how it ended, by Redis's copy where that is whole; raises NotFound or Unreadable."""
        return self.within(self.live(job_id), job_id)

    def within(self, live: Mapping[str, str], job_id: str) -> R:
        """As `known`, with the live state that was read before."""
        copies = (self.records.copy(live, which, job_id) for which in ("final", "accepted"))
        found = self._seen(lambda: next(filter(None, copies), None) or self.records.either(job_id))
        if found is None:
            raise self.unknown()
        return found

    def _seen(self, read: Callable[[], R | None]) -> R | None:
        """What is read, if anything; raises NotFound where it is not of whoever asks."""
        try:
            found = read()
        except Unreadable:
            if self._asker:  # nobody can tell whose it is: it is the first owner's to clear away
                raise self.unknown() from None
            raise
        except Deleted as deleted:
            if self._asker not in (None, deleted.owner) or now() - deleted.at > TOLD_FOR:
                raise self.unknown() from None
            raise
        if found is not None and not self.sees(found):
            raise self.unknown()
        return found

    def sees(self, record: R) -> bool:
        """Whether a record is of whoever asks."""
        return self._asker in (None, record.owner)

    def latest(self, job_id: str) -> R:
        """As `stands`, but an end counts from when it is created, told or not."""
        if not ID.fullmatch(job_id):
            raise self.unknown()  # before it becomes a key
        return self._seen(lambda: self.records.ended(job_id)) or self.stands(job_id)

    # On a worker

    def to_do(self, job_id: str) -> R | None:
        """What a worker takes up; None when it has ended, was never accepted, or cannot be read.

        Raises Newer, for then another worker can read it.
        """
        try:
            record = self.records.pending(job_id)
            return None if record is None or self.close_again(job_id) else record
        except Unreadable as error:
            tell(self._redis, error)
            if isinstance(error, Newer):
                raise
            return None  # no other try could read it either

    def mark(self, job_id: str, status: Status, fields: Mapping[str, str | bytes]) -> None:
        """Write and tell that a job has begun, or waits again."""
        with self._redis.pipeline() as pipe:
            self.set_live(pipe, job_id, {"status": status.value, **fields})
            self.publish(pipe, job_id, "status", {"status": status})
            pipe.execute()

    def put_back(self, job_id: str) -> None:
        """Mark a job that was started as waiting again."""
        self.mark(job_id, Status.QUEUED, {})

    # Ends

    def conclude(self, record: R) -> bool:
        """End a job as its record says; False when it had ended before, and then nothing changes."""
        text = self._places.ended.write(record)
        if not self.create_end(record.id, text):
            return False
        self._close(record, text)
        return True

    def create_end(self, job_id: str, text: bytes) -> bool:
        """Create the record of an end, which decides; False where another is there."""
        return self._storage.create(self._places.ended_key(job_id), text)

    def _close(self, record: R, text: bytes) -> None:
        self._announce(record, text)
        self.clear(record)
        self._storage.delete(self._places.pending_key(record.id))

    def _announce(self, record: R, text: bytes) -> None:
        with self._redis.pipeline() as pipe:
            self.remember_end(pipe, record, text)
            pipe.zrem(living_key(self._places.name, record.owner), record.id)
            self.publish(pipe, record.id, "status", self.news(record))
            pipe.execute()

    def close_again(self, job_id: str) -> bool:
        """Tell again of an end that storage knows, if it does, and say so."""
        # Whoever ended it may have died before anybody was told
        try:
            ended = self.records.ended(job_id)
        except Deleted:  # there is nothing to tell any more
            self._storage.delete(self._places.pending_key(job_id))
            return True
        if ended is not None:
            self._close(self._flushed(ended), self._places.ended.write(ended))
        return ended is not None

    def withdraw(self, job_id: str) -> R:
        """Cancel a job, whether it waits or is worked on; who works on it finds out.

        Raises NotFound, Conflict when it has ended otherwise or can not be canceled any more, and Unreadable.
        """
        record = self.stands(job_id)
        if not record.status.ended and self.may_cancel(record):
            canceled = self.as_canceled(record)
            ours = self.conclude(canceled)
            if str(record.status) != "running":
                self.queues.drop(job_id)
            if ours:
                return canceled
        record = self.latest(job_id)  # somebody else was first
        if str(record.status) != "canceled":
            why = self.too_late(record)
            raise Conflict("already_ended", why)
        return self._flushed(record)

    # Live state, in Redis

    def live(self, job_id: str) -> dict[str, str]:
        """Live state, as far as Redis has it; raises NotFound for what is no id."""
        if not ID.fullmatch(job_id):
            raise self.unknown()  # before it becomes a key
        return self.read_live(job_id)

    def read_live(self, job_id: str) -> dict[str, str]:
        """Live state, as far as Redis has it and answers."""
        try:
            raw = cast(dict[bytes, bytes], self._redis.hgetall(live_key(job_id)))
        except RedisError:
            return {}  # storage still knows
        return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in raw.items()}

    def remember(self, pipe: Pipeline, record: R) -> None:
        """Write the live state of a job that waits, with the rest of what `pipe` does."""
        text = self._places.pending.write(record)
        self.set_live(pipe, record.id, {"accepted": text, "status": str(record.status)})
        pipe.zadd(living_key(self._places.name, record.owner), {record.id: KNOWN})
        pipe.sadd(LIVING, living_key(self._places.name, record.owner))

    def remember_end(self, pipe: Pipeline, record: R, text: bytes) -> None:
        """Write the live state of a job that has ended."""
        self.set_live(pipe, record.id, {"status": str(record.status), "final": text})

    def set_live(self, pipe: Pipeline, job_id: str, fields: Mapping[FieldT, EncodableT]) -> None:
        """Write fields of the live state."""
        pipe.hset(live_key(job_id), mapping=dict(fields))
        pipe.expire(live_key(job_id), self._settings.keep_live_s)

    def publish(self, pipe: Redis | Pipeline, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Append an event to the job's stream, and wake whoever follows it."""
        publish(pipe, job_id, kind, data, self._settings.keep_live_s)

    # Nothing accepted is lost

    def bring_back(self, jobs: Collection[str], seen: Look, until: float = math.inf) -> None:
        """Queue again those of the pending jobs that are lost, or end them; stop at a time of `time.monotonic`."""
        with closing(self._lost.among(jobs, seen)) as lost:
            for job_id, status in lost:
                try:
                    self._bring_back(job_id, status)
                except Unreadable as error:  # nobody can make work of it; the others must not wait for that
                    self.pass_over(job_id, error)
                except ResponseError:  # a key of it is of another kind: it is mended, and brought back by the next look
                    mend(self._redis, OF_JOB, job_id)
                if time.monotonic() > until:
                    break

    def pass_over(self, job_id: str, error: Unreadable) -> None:
        """Tell of a record that cannot be read, and take its job out of the queue, unless newer code can read it."""
        tell(self._redis, error)
        if not isinstance(error, Newer):
            self.queues.drop(job_id)

    def _bring_back(self, job_id: str, status: JobStatus | None) -> None:
        if self.close_again(job_id):
            self.queues.drop(job_id)
            return
        record = None
        with suppress(Deleted):
            record = self.records.either(job_id)
        if record is None:
            return  # ended between two looks
        if status in DEAD:
            self.give_up(record)
            return
        self.queues.drop(job_id)
        self.queue(record)
