"""RQ: the names of queues and tasks, and what is put on them.

Keys of our own start with `radiata:` and are documented where they are written (`catalog_index`, `downloads`, `events`,
`identity`, `index`, `lifecycle`, `living`, `lost`, `metrics`, `outgoing`, `rebuild`, `records`, `sweep`, `turns`,
`uploads`, `worker_state`, and `workers/dispatch/sweeping_worker.py`); RQ's start with `rq:`. Everything on the queue is
JSON: RQ's default, pickle, would run what it reads. What a job may say is in `app/shared/job.py`.
"""

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any, cast, get_args

from redis import Redis
from rq import Retry
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import JobStatus

from app.shared.job import GENERATE, INSPECT, INTAKE, SERIALIZER, TRAIN, KnownJob, KnownQueue, meta_of
from app.shared.owners import FIRST
from app.shared.settings import Settings
from app.shared.turns import MOVE, turns_key
from app.shared.wire.generation import Priority

INSPECTION_RETRIES = 2  # a worker killed from outside is no fault of the file; a file that kills three times is refused
KEEP_FAILED_S = 3600


NEAR = 1000  # of each end of a queue: places further in are not looked for, which would take Redis milliseconds each
BASE_DIGITS = 16  # of a fingerprint, in a queue's name; the engine compares all of it


def generation_queue(model: str, priority: Priority = "normal", base: str = "", needs: str = "") -> str:
    """Name of the queue on which the generations of `model` with that priority wait.

    base: fingerprint of the base for which they were accepted, so that no worker with another even takes one; empty for
    those that any base of that name may draw, as old records have it.
    needs: digest of the models that their maps are made with (`app/shared/preprocessing.py`); empty where it is none.
    """
    of = f"generate.{model}@{base[:BASE_DIGITS]}" if base else f"generate.{model}"  # no model has an @ or a colon
    if base and needs:
        of += f".{needs}"
    return of if priority == "normal" else f"{of}:{priority}"


def generation_queues(model: str, base: str = "", needs: Iterable[str] = ()) -> list[str]:
    """Names of all queues out of which a worker of `model` with that base takes, the one that goes first first.

    needs: digests of what it serves. Between queues of one priority, `workers/dispatch/affinity.py` says which is next.
    """
    those = [*((base, one) for one in needs if base and one), (base, ""), ("", "")] if base else [("", "")]
    return [generation_queue(model, priority, *one) for priority in get_args(Priority) for one in those]


def training_queue(model: str) -> str:
    """Name of the queue on which the trainings on `model` wait."""
    return f"train.{model}"


def model_of(queue: str) -> str:
    """Name of the model whose generations wait on a queue."""
    return queue.removeprefix(generation_queue("")).partition(":")[0].partition("@")[0]


def base_of(queue: str) -> str:
    """First digits of the base for which the generations on a queue were accepted; empty where any may draw them."""
    return queue.partition(":")[0].partition("@")[2].partition(".")[0]


def needs_of(queue: str) -> str:
    """Digest of the models that the maps of the generations on a queue are made with; empty where it is none."""
    return queue.partition(":")[0].partition("@")[2].partition(".")[2]


def priority_of(queue: str) -> str:
    """Priority of the generations on a queue."""
    return queue.partition(":")[2] or "normal"


def _job(task: str, job_id: str, timeout: int, retries: int, meta: dict[str, Any]) -> dict[str, Any]:
    """What RQ is told of a job."""
    return {
        "func": task,
        "args": (job_id,),
        "job_id": job_id,
        "description": job_id,
        "timeout": timeout,
        "result_ttl": 0,  # results live in storage; RQ forgets the job as soon as it is done
        "failure_ttl": KEEP_FAILED_S,
        "meta": meta,
        "retry": Retry(retries, enqueue_at_front=True) if retries else None,
    }


class Queues:
    """Puts work on queues and finds it there."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self.template = cache(self._template)

    def of(self, name: str) -> KnownQueue:
        """The RQ queue called `name`, speaking JSON."""
        return KnownQueue(name, connection=self._redis, serializer=SERIALIZER)

    def enqueue_generation(
        self,
        model: str,
        generation_id: str,
        adapters: Iterable[str] = (),
        priority: Priority = "normal",
        base: str = "",
        owner: str = FIRST,
        needs: str = "",
    ) -> None:
        """Queue an accepted generation in its owner's turn; queueing it twice is the same as once.

        adapters: their sha256. They stand in RQ's own record of the job, so they come and go with it, and a
        worker that chooses by them (`workers/dispatch/affinity.py`) needs to read nothing else.
        """
        self._enqueue(generation_queue(model, priority, base, needs), self._drawing(generation_id, adapters), owner)

    def enqueue_inspection(self, upload_id: str, timeout_s: int | None = None, owner: str = FIRST) -> None:
        """Queue an upload for inspection in its owner's turn; queueing it twice is the same as once."""
        seconds = timeout_s or self._settings.inspect_timeout_s
        self._enqueue(INTAKE, _job(INSPECT, upload_id, seconds, INSPECTION_RETRIES, meta_of()), owner)

    def enqueue_training(self, model: str, training_id: str, owner: str = FIRST) -> None:
        """Queue an accepted training in its owner's turn; queueing it twice is the same as once."""
        settings = self._settings
        job = _job(TRAIN, training_id, settings.training_timeout_s, settings.retries, meta_of())
        self._enqueue(training_queue(model), job, owner)

    def _enqueue(self, name: str, job: dict[str, Any], owner: str) -> None:
        queue = self.of(name)
        with suppress(DuplicateJobError):
            queue.enqueue_call(**job, unique=True)
            arguments = [KnownJob.redis_job_namespace_prefix, job["job_id"], owner]
            self._redis.register_script(MOVE)(keys=[queue.key, turns_key(name)], args=arguments)

    def _drawing(self, generation_id: str, adapters: Iterable[str]) -> dict[str, Any]:
        settings = self._settings
        return _job(GENERATE, generation_id, settings.generation_timeout_s, settings.retries, meta_of(adapters))

    def _template(self, queue: str) -> dict[str, str | bytes | int]:
        """The hash that RQ writes for a generation that waits; `app/accepting/fast_acceptance.py` fills it in."""
        job = self.of(queue).create_job(**self._drawing("0" * 32, ()))
        job.enqueued_at = job.created_at
        fields = {name: value for name, value in job.to_dict().items() if value is not None}
        return fields | {"status": JobStatus.QUEUED.value}

    def job(self, job_id: str) -> KnownJob | None:
        """The RQ job, or None when RQ does not know it (any more), or what it knows is none of ours."""
        try:
            return cast(KnownJob, KnownJob.fetch(job_id, connection=self._redis, serializer=SERIALIZER))
        except NoSuchJobError:
            return None

    def drop(self, job_id: str) -> None:
        """Forget a job, queued or not; one that is running goes on until it looks up."""
        if job := self.job(job_id):
            with suppress(InvalidJobOperation):  # it was done, or dropped by another, just now
                job.delete()

    def position(self, model: str, generation_id: str, base: str = "", needs: str = "") -> int | None:
        """How many generations are before this one, or None when it does not wait within `NEAR` of an end of its queue.

        A worker may take one that suits it better first (`affinity_window`): it is a place, not a promise.
        """
        before = 0
        with self._redis.pipeline(transaction=False) as pipe:
            for key in self.keys(model, base=base, needs=needs):
                pipe.lpos(key, generation_id, rank=-1, maxlen=NEAR)  # the last first: who asks came last
                pipe.lpos(key, generation_id, maxlen=NEAR)
                pipe.llen(key)
            answers = pipe.execute()
        for from_tail, from_head, length in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
            place = from_head if from_tail is None else from_tail
            if place is not None:
                return before + place
            before += length
        return None

    def waiting(self, model: str, priority: Priority = "low", base: str = "", needs: str = "") -> int:
        """How many generations of that priority or a higher one wait for a worker of `model` with that base."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in self.keys(model, priority, base, needs):
                pipe.llen(key)
            return sum(pipe.execute())

    def keys(self, model: str, priority: Priority = "low", base: str = "", needs: str = "") -> list[str]:
        """Keys of the queues out of which a worker takes what has that priority, or a higher one, in its order."""
        names = generation_queues(model, base, [needs])
        of_each = len(names) // len(get_args(Priority))
        names = names[: (get_args(Priority).index(priority) + 1) * of_each]
        return [f"{KnownQueue.redis_queue_namespace_prefix}{name}" for name in names]
