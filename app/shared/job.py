"""What may stand on a queue: one of three tasks, told by an id, and nothing else that RQ would act on.

RQ takes the function, three callbacks, webhooks, dependencies and repeats of a job from its hash, and imports and calls
what stands there. Whoever reaches Redis can write such a hash, so ours is read by a table of what each field may say,
before RQ reads it. A job that says anything else is taken out of Redis, logged and counted, and then is none: what was
accepted stands in storage, so the sweep queues it anew.
"""

import re
import time
import zlib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, cast

import structlog
from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import DequeueTimeout, NoSuchJobError
from rq.executions import Execution, ExecutionRegistry
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import resolve_serializer

from app.shared.metrics import count
from app.shared.record_format import FORMAT

log = structlog.get_logger()

SERIALIZER = "json"
GENERATE = "workers.tasks.generate"
INSPECT = "workers.tasks.inspect_upload"
TRAIN = "workers.tasks.train"
INTAKE = "intake"
ORIGINS = {  # of each task: the queues on which it may wait
    GENERATE: re.compile(r"generate\.[a-z0-9._@-]{1,300}(:high|:low)?"),
    INSPECT: re.compile(INTAKE),
    TRAIN: re.compile(r"train\.[a-z0-9._-]{1,64}"),
}
MOST_NEWER = 50  # jobs of a later format that are put back before the worker looks elsewhere
PUT_BACK_S = 1.0  # before a job that could not be done is queued again: what is away is rarely back at once
REFUSED = "jobs_refused"  # the counter of what was found on a queue and is none of ours

ID = re.compile(r"[0-9a-f]{32}")
TRY = re.compile(rb"[0-9a-f]{32}:[0-9a-f]{32}")  # a job, and one execution of it
LONGEST_DATA = 512  # bytes, unpacked
LONGEST = 65_536  # bytes of any field

_EMPTY, _NUMBER, _BIT = rb"", rb"\d{1,9}", rb"[01]"
_TIME = rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z)?"
_SHA256 = rb'"[0-9a-f]{64}"'
_FORMAT = rb'"format": (?:%s)' % b"|".join(b"%d" % number for number in range(1, FORMAT + 1))
# Fields of the hash `rq:job:<id>`, and what each may say; `turn` is written by `app/shared/turns.py`, the last two by
# `workers/dispatch/affinity.py`
FIELDS = {
    "data": rb"(?s:.{1,%d})" % LONGEST_DATA,
    "origin": rb"[a-z0-9._@:-]{1,400}",
    "description": rb"[0-9a-f]{32}",
    "status": rb"created|queued|started|finished|failed|stopped|canceled",
    "timeout": rb"[1-9]\d{0,8}",
    "result_ttl": _NUMBER,
    "failure_ttl": _NUMBER,
    # Version 0.1 said "wears"; what it queued is drawn, in its turn
    "meta": rb'\{(?:%s|(?:%s, )?"(?:adapters|wears)": \[(%s(, %s)*)?\])?\}' % (_FORMAT, _FORMAT, _SHA256, _SHA256),
    "number_of_retries": _NUMBER,
    "retries_left": _NUMBER,
    "retry_intervals": rb"\[0\]",
    "enqueue_at_front": _BIT,
    "enqueue_at_front_on_retry": _BIT,
    "worker_name": rb"[\w.:-]{0,300}",
    **dict.fromkeys(("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"), _TIME),
    **dict.fromkeys(("success_callback_name", "failure_callback_name", "stopped_callback_name", "group_id"), _EMPTY),
    "turn": _NUMBER,
    "passed": _NUMBER,
    "passed_since": rb"\d{1,12}(\.\d{1,6})?",
}
_SAYS_FORMAT = re.compile(rb'\{"format": ([1-9]\d{0,8})[,}]')  # how the `meta` of a job of any format begins
_FIELDS = {name: re.compile(pattern) for name, pattern in FIELDS.items()}


class JobRefused(NoSuchJobError):
    """What stood under a job's id is none of ours; for RQ there is no such job."""


class JobNewer(NoSuchJobError):
    """A job of a later format: for RQ there is no such job here, and it stays in Redis for whoever can read it."""


def meta_of(adapters: Iterable[str] | None = None) -> dict[str, Any]:
    """What the `meta` of a job says: its format, and of a generation the sha256 of its adapters."""
    return {"format": FORMAT} | ({} if adapters is None else {"adapters": sorted(adapters)})


def _is_newer(meta: bytes | None) -> bool:
    says = _SAYS_FORMAT.match(meta or b"")
    return says is not None and int(says[1]) > FORMAT


def is_newer(redis: Redis, job_id: str) -> bool:
    """Whether RQ's job has a later format than this code reads."""
    try:
        return _is_newer(cast(bytes | None, redis.hget(f"{Job.redis_job_namespace_prefix}{job_id}", "meta")))
    except ResponseError:  # no hash
        return False


def data_of(task: str, job_id: str) -> bytes:
    """What a job of this task says, as RQ packs it: function, instance, arguments, keywords."""
    return resolve_serializer(SERIALIZER).dumps((task, None, (job_id,), {}))  # type: ignore[attr-defined]


def wrong_with(job_id: str, fields: Mapping[str, bytes]) -> str | None:
    """What about the hash of a job is not as we write it, or None."""
    if not ID.fullmatch(job_id):
        return "its id is none of ours"
    for name, value in fields.items():
        known = _FIELDS.get(name)
        if known is None:
            return f"a field {name[:40]!r}"
        if len(value) > LONGEST or not known.fullmatch(value):
            return f"what its {name} says"
    try:
        data = zlib.decompressobj().decompress(fields["data"], LONGEST_DATA)
    except (KeyError, zlib.error):
        return "its data"
    origin = fields.get("origin", b"").decode()
    tasks = [task for task, origins in ORIGINS.items() if origins.fullmatch(origin)]
    return None if any(data == data_of(task, job_id) for task in tasks) else "what it would call"


class KnownExecutions(ExecutionRegistry):
    """The tries of a job that RQ still keeps; it lists them a minute longer, and fails on its own list."""

    def get_executions(self, start: int = 0, end: int = -1) -> list[Execution]:
        """Every try whose record is there."""
        found = []
        for execution_id in self.get_execution_ids(start, end):
            try:
                found.append(Execution.fetch(execution_id, self.job_id, self.connection))
            except (ValueError, KeyError):  # it ended just now, or its worker died
                self.connection.zrem(self.key, execution_id)
        return found


class KnownJob(Job):
    """An RQ job that is one of ours, or is not restored at all."""

    def refresh(self) -> None:
        """Read what Redis has; raises NoSuchJobError, and JobRefused as `restore` does."""
        try:
            super().refresh()
        except ResponseError as error:  # a list, say, where the job's hash should be
            self.connection.delete(self.key)
            refuse(self.connection, self.id, str(error))
            raise JobRefused(f"job {self.id} is none of ours: {error}") from error

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take over what Redis has; where we would not have written that, delete it there and raise JobRefused.

        Raises JobNewer where newer code has written it.
        """
        fields = {name.decode(errors="replace"): value for name, value in raw_data.items()}
        if _is_newer(fields.get("meta")):
            raise JobNewer(f"job {self.id} has a later format than {FORMAT}")
        if "data" not in fields:  # what a heartbeat leaves of a job that was dropped in that moment
            self.connection.delete(self.key)
            raise NoSuchJobError(f"nothing of job {self.id} but {', '.join(fields)[:200]}")
        wrong = wrong_with(self.id, fields)
        if wrong is None:
            try:
                return super().restore(raw_data)
            except (ValueError, TypeError, KeyError, OverflowError) as error:  # a date of no calendar, say
                wrong = repr(error)
        self.connection.delete(self.key)
        refuse(self.connection, self.id, wrong)
        raise JobRefused(f"job {self.id} is none of ours: {wrong}")

    @property
    def execution_registry(self) -> KnownExecutions:
        """The tries of this job."""
        return KnownExecutions(self.id, connection=self.connection)


class KnownQueue(Queue):
    """An RQ queue that speaks JSON, and passes over whatever on it is none of our jobs."""

    job_class = KnownJob

    def get_job_ids(self, offset: int = 0, length: int = -1) -> list[str]:
        """Ids of what waits, the head first; of `length` entries, or all."""
        if length == 0:
            return []
        end = offset + length - 1 if length > 0 else -1
        entries = cast(list[bytes], self.connection.lrange(self.key, offset, end))
        return [text for entry in entries if ID.fullmatch(text := entry.decode(errors="replace"))]

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: Redis,
        job_class: type[Job] | None = None,
        serializer: Any = None,
        death_penalty_class: Any = None,
    ) -> tuple[Job, Queue] | None:
        """A job out of the first of the queues that has one, and that queue; RQ's seam.

        Waits `timeout` seconds where there is none, then raises DequeueTimeout; without a timeout answers None. Puts
        back jobs of a later format.
        """
        newer = set[str]()
        ordered = cast(list[KnownQueue], list(queues))
        keys = [queue.key for queue in ordered]
        while True:
            left_out = len(keys) < len(ordered)
            taken = ordered[0].take(keys, None if left_out else timeout, connection) if keys else None
            if taken is None and left_out:
                time.sleep(PUT_BACK_S)
                if timeout is not None:
                    raise DequeueTimeout(timeout, [queue.key for queue in ordered])
            if taken is None:
                return None
            key, entry = taken
            job_id = entry.decode(errors="replace")
            if not ID.fullmatch(job_id):
                refuse(connection, job_id, "its id is none of ours")
            elif found := cls._fetch_dequeued_job(connection, key, job_id, KnownJob, SERIALIZER, death_penalty_class):
                if found[0].origin == found[1].name:
                    return found
                connection.delete(found[0].key)
                refuse(connection, job_id, f"it lay on {found[1].name}")
            elif is_newer(connection, job_id):
                put_back(connection, key, entry)
                if job_id in newer or len(newer) >= MOST_NEWER:
                    keys.remove(key)  # enough of this queue was looked at: others may be behind it, or in the next one
                newer.add(job_id)
                continue
            connection.lrem(IntermediateQueue.get_intermediate_queue_key(key), 1, entry)  # type: ignore[arg-type]

    def take(self, keys: list[str], timeout: int | None, redis: Redis) -> tuple[str, bytes] | None:
        """The head of the first of these queues that has one, moved to what is on its way to a worker, as RQ does."""
        for key in keys:
            if moved := Queue.lmove(redis, key, None):
                return key, moved[1]
        if timeout is None:
            return None
        popped, entry = cast(tuple[bytes, bytes], Queue.lpop(keys, timeout, connection=redis))
        redis.rpush(IntermediateQueue.get_intermediate_queue_key(popped.decode()), entry)
        return popped.decode(), entry

    def tries(self) -> dict[str, bytes | None]:
        """Every try of a job of this queue that runs, named by job and execution, and its last heartbeat, if known."""
        started = self.started_job_registry.key
        entries = cast(list[bytes], self.connection.zrange(started, 0, -1))
        for entry in entries:
            if not TRY.fullmatch(entry):
                self.connection.zrem(started, entry)
        names = [entry.decode() for entry in entries if TRY.fullmatch(entry)]
        with self.connection.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(Execution.from_composite_key(name, self.connection).key, "last_heartbeat")
            return dict(zip(names, pipe.execute(), strict=True))

    def clean(self, dead: Collection[str]) -> None:
        """Have these tries counted and done again, and forget what is no job (any more) in RQ's registries."""
        # RQ's `clean_registries` goes by the system's clock, and acts on dependents and rate limits, which no job of
        # ours has; of its registry of what runs, what is marked 0 is taken for dead
        started = StartedJobRegistry(queue=self, job_class=self.job_class)
        for entry in dead:
            self.connection.zadd(started.key, {entry: 0}, xx=True)
        started.cleanup(timestamp=0)
        FailedJobRegistry(queue=self, job_class=self.job_class).cleanup()
        for entry in cast(list[bytes], self.connection.lrange(self.intermediate_queue_key, 0, -1)):
            text = entry.decode(errors="replace")
            if not ID.fullmatch(text) or not self.job_class.exists(text, self.connection):
                self.connection.lrem(self.intermediate_queue_key, 1, entry)  # type: ignore[arg-type]


def put_back(redis: Redis, queue: str, entry: bytes) -> None:
    """Put a job of a later format, which is on its way to a worker, back on its queue; say so once in a process."""
    with redis.pipeline() as pipe:
        pipe.lrem(IntermediateQueue.get_intermediate_queue_key(queue), 1, entry)  # type: ignore[arg-type]
        pipe.rpush(queue, entry)
        pipe.execute()
    _tell_of_newer()


@cache
def _tell_of_newer() -> None:
    log.warning(
        "job_newer", message=f"newer code queued a job, which is put back; this one reads formats up to {FORMAT}"
    )


def refuse(redis: Redis, job_id: str, wrong: str) -> None:
    """Say that something on a queue is none of ours, and count it."""
    log.error("job_refused", job=job_id[:64], wrong=wrong[:200])
    count(redis, {REFUSED: 1})
