"""One job, done as RQ's own work horse does it, in a process that RQ did not fork."""

from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue

from app.shared.job import SERIALIZER, KnownJob, KnownQueue
from app.shared.settings import Settings
from workers.dispatch.known_worker import JobRunner


def perform(
    job_id: str, execution_id: str, source: KnownQueue, worker_name: str, redis: Redis, settings: Settings
) -> None:
    """Do a job that the worker of that name has taken; nothing happens where it was canceled on its way here."""
    try:
        job = KnownJob.fetch(job_id, connection=redis, serializer=SERIALIZER)
    except NoSuchJobError:  # canceled, or none of ours
        IntermediateQueue(source.key, redis).remove(job_id)
        return
    execution = Execution(execution_id, job.id, redis, worker_name)
    JobRunner(settings, source, worker_name, redis).perform_job(job, source, execution)
