"""An older worker in a fleet that is being upgraded: what it cannot read goes back, and that is nobody's try."""

from pathlib import Path

import pytest
from redis import Redis
from rq import Queue

from app.shared.generation_keys import pending_key
from app.shared.generations import Ledger
from app.shared.job import INTAKE, SERIALIZER
from app.shared.queue import Queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, record_key
from app.shared.wire.generation import Status
from tests.app.shared.making import MODEL, request, upload
from tests.app.shared.test_record_format import newer
from workers.dispatch.affinity import affinity_queues
from workers.dispatch.known_worker import JobRunner
from workers.intake import Intake

TURNS = 6  # more than there are tries


class Starts:
    """An engine that gets no further than taking a generation up."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def run(self, generation_id: str) -> None:
        """Take it up."""
        self._ledger.start(generation_id)


def take(queues: list[Queue], redis: Redis, settings: Settings) -> None:
    """Do what a worker does with the next job."""
    taken = queues[0].__class__.dequeue_any(queues, None, redis, serializer=SERIALIZER)
    assert taken is not None
    job, queue = taken
    runner = JobRunner(settings, queue, "worker", redis)
    runner.perform_job(job, queue, runner.prepare_execution(job))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.dispatch.known_worker.PUT_BACK_S", 0.01)


def test_a_newer_generation_is_put_back(
    storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(storage, redis, settings)
    monkeypatch.setattr("workers.tasks._engine", Starts(ledger))
    one, other = ledger.accept(request()), ledger.accept(request())
    data = newer(storage, pending_key(one.id))
    queues = affinity_queues(MODEL, redis, settings)
    take(queues, redis, settings)
    take(queues, redis, settings)  # the other is not kept waiting
    assert ledger.get(other.id).status is Status.RUNNING
    for _ in range(TURNS):
        take(queues, redis, settings)
    job = Queues(redis, settings).job(one.id)
    assert job is not None and job.is_queued and job.retries_left == settings.retries
    assert (
        storage.get(pending_key(one.id)) == data and len(list(redis.scan_iter("radiata:unreadable:*"))) == 1
    )  # told once


def test_a_newer_upload_is_put_back(storage: Storage, redis: Redis, settings: Settings, tmp_path: Path) -> None:
    uploads = Uploads(storage, redis, settings)
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    uploads.stage(upload(), file)
    data = newer(storage, record_key(upload().id))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.tasks._intake", Intake(storage, redis, settings))
        for _ in range(TURNS):
            take([uploads.queues.of(INTAKE)], redis, settings)
    job = uploads.queues.job(upload().id)
    assert job is not None and job.is_queued
    assert storage.get(record_key(upload().id)) == data
