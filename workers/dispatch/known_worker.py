"""RQ's worker as this service sets it up: jobs and queues that are known, JSON, and no try lost to an outage."""

import time
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq import Queue, Worker
from rq.exceptions import InvalidJobOperation
from rq.executions import Execution
from rq.job import Job

from app.shared.connection import AWAY, LONGEST_PAUSE_S
from app.shared.errors import Newer, Unavailable
from app.shared.job import PUT_BACK_S, SERIALIZER, KnownJob, KnownQueue
from app.shared.kinds import OF_JOB, mend
from app.shared.settings import Settings

log = structlog.get_logger()
PUT_BACK = (Unavailable, Newer, RedisError)  # nothing is wrong with a job that ends with one of these


class KnownWorker(Worker):
    """An RQ worker of known jobs; by itself it may run a job, but does not take any."""

    log_result_lifespan = False
    max_connection_wait_time = LONGEST_PAUSE_S
    job_class = KnownJob
    queue_class = KnownQueue

    def __init__(self, settings: Settings, queues: list[Queue], name: str, connection: Redis, **options: Any) -> None:
        """options: those of RQ's worker."""
        known = (
            one if isinstance(one, KnownQueue) else KnownQueue(one.name, connection=connection, serializer=SERIALIZER)
            for one in queues
        )
        super().__init__(
            list(known), name=name, connection=connection, serializer=SERIALIZER, log_job_description=False, **options
        )
        self._settings = settings

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Seconds after which this worker counts as dead without another heartbeat."""
        return self._settings.lost_after_s

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Say in one line that a job is put back; where something is wrong with it, RQ has its traceback too."""
        if isinstance(exc_info[1], PUT_BACK):
            log.warning("job_put_back", job=job.id, why=str(exc_info[1]))
            return
        super().handle_exception(job, *exc_info)

    def _finalize_failure(self, job: Job, queue: Queue, execution: Execution, exc_info: Any) -> None:
        """Put back, as it was, a job that could not wait for storage or Redis any longer, without counting a try.

        Only deaths count as tries: of an engine, seen by its parent, or of a worker, seen by the sweep.
        """
        if isinstance(exc_info[1], InvalidJobOperation) and not self.connection.hexists(job.key, "data"):
            log.warning("job_forgotten", job=job.id)  # Redis was emptied while it was done: what was done is in storage
            with self.connection.pipeline() as pipeline:
                self.cleanup_execution(job, pipeline=pipeline, execution=execution)
                pipeline.delete(job.key)  # a heartbeat since then has made an empty one
                pipeline.execute()
            return
        if isinstance(exc_info[1], PUT_BACK):
            job.retries_left = (job.retries_left or 0) + 1  # RQ takes one off
            # What Redis refuses may be this job's alone, and so is a record of newer code: no other waits behind it
            job.enqueue_at_front_on_retry = isinstance(exc_info[1], (Unavailable, *AWAY))
            if isinstance(exc_info[1], ResponseError):
                mend(self.connection, OF_JOB, job.id)
            time.sleep(PUT_BACK_S)
        super()._finalize_failure(job, queue, execution, exc_info)


class JobRunner(KnownWorker):
    """What runs jobs in the engine process, in the name of the worker that took them."""

    def __init__(self, settings: Settings, queue: Queue, worker_name: str, connection: Redis) -> None:
        super().__init__(settings, [queue], worker_name, connection, prepare_for_work=False)
