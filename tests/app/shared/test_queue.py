"""Law 5 on the queue: what a worker reads is JSON, and names one of two functions."""

import json
import zlib

import pytest
from redis import Redis
from rq import Worker
from rq.executions import Execution
from rq.job import Job

from app.shared.connection import connect
from app.shared.job import GENERATE, INSPECT, INTAKE, SERIALIZER
from app.shared.queue import Queues, generation_queue
from app.shared.settings import BadSettings, Settings

JOB = "0" * 32


@pytest.fixture
def queues(redis: Redis, settings: Settings) -> Queues:
    return Queues(redis, settings)


@pytest.mark.parametrize("task", [GENERATE, INSPECT])
def test_a_job_is_json_and_nothing_else(queues: Queues, redis: Redis, task: str) -> None:
    if task == GENERATE:
        queues.enqueue_generation("emoji-64", JOB)
    else:
        queues.enqueue_inspection(JOB)
    stored = redis.hget(f"rq:job:{JOB}", "data")
    assert isinstance(stored, bytes)
    assert json.loads(zlib.decompress(stored)) == [task, None, [JOB], {}]


def test_queued_twice_is_queued_once(queues: Queues) -> None:
    for _ in range(2):
        queues.enqueue_inspection(JOB)
        queues.enqueue_generation("emoji-64", "1" * 32)
    assert queues.of(INTAKE).get_job_ids() == [JOB]
    assert queues.waiting("emoji-64") == 1
    assert queues.position("emoji-64", "1" * 32) == 0


def test_a_job_is_dropped_also_when_its_worker_died(queues: Queues, redis: Redis) -> None:
    """RQ keeps the list of tries a minute longer than the tries, and cannot delete a job then by itself."""
    queues.enqueue_generation("emoji-64", JOB)
    job = queues.job(JOB)
    assert job is not None
    with redis.pipeline() as pipe:
        execution = Execution.create(job, ttl=60, pipeline=pipe)
        pipe.execute()
    redis.delete(execution.key)
    with pytest.raises(ValueError, match="not found"):
        Job.fetch(JOB, connection=redis, serializer=SERIALIZER).delete()
    queues.drop(JOB)
    queues.drop(JOB)
    assert queues.job(JOB) is None and queues.waiting("emoji-64") == 0


def test_workers_speak_json_too(redis: Redis, settings: Settings) -> None:
    queue = Queues(redis, settings).of(generation_queue("emoji-64"))
    job = Job.create("workers.tasks.generate", args=(object(),), connection=redis, serializer=SERIALIZER)
    with pytest.raises(TypeError, match="JSON"):
        queue.enqueue_job(job)
    assert Worker([queue], connection=redis, serializer=SERIALIZER).serializer is queue.serializer


def test_no_redis_is_said_in_words(settings: Settings) -> None:
    with pytest.raises(BadSettings, match="RADIATA_REDIS_URL"):
        connect(settings.model_copy(update={"redis_url": None}))
