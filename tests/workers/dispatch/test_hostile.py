"""Law 5 with the real workers: they meet jobs that others put on their queues, call nothing, and do the next."""

import json
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.job import Job

from app.shared.generations import Ledger
from app.shared.job import GENERATE, INSPECT, REFUSED, SERIALIZER, KnownQueue
from app.shared.lifecycle import live_key
from app.shared.metrics import counted
from app.shared.queue import Queues, generation_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.worker_state import worker_states
from tests.app.shared.making import MODEL, profile, request, upload
from tests.workers.dispatch.processes import worker_process
from workers.dispatch.affinity import affinity_queues
from workers.dispatch.generation_worker import GenerationWorker
from workers.dispatch.performing import perform

BAD = [f"{number:032x}" for number in range(1, 8)]

WORK = """
import sys
from workers import tasks
from workers.intake import Intake
from workers.dispatch.intake_worker import IntakeWorker
from app.shared.connection import connect
from app.shared.queue import Queues
from app.shared.settings import Settings
from app.shared.storage import Storage

settings = Settings()
redis = connect(settings)
tasks.hold_intake(Intake(Storage(settings.store_url), redis, settings))
IntakeWorker(settings, [Queues(redis, settings).of("intake")], "intake", redis).work(burst=True, logging_level="ERROR")
"""


def put_bad(redis: Redis, queue: str, task: str, touched: Path, url: str) -> None:
    """Jobs of every bad kind, each of which would touch a file or ask a URL if it were believed."""
    call = [["os.system", None, [f"touch {touched}"], {}], ["pathlib.Path", None, [str(touched)], {}]]
    kinds: list[dict[str, Any]] = [
        *({"data": zlib.compress(json.dumps(one).encode())} for one in call),
        {"success_callback_name": "workers.tasks.generate"},
        {"failure_callback_name": "os.system"},
        {"webhooks": json.dumps([{"url": url, "job_status": "finished"}, {"url": url, "job_status": "failed"}])},
        {"data": b"\x80\x04cos\nsystem\n"},
        {"timeout": "-1"},
    ]
    for job_id, kind in zip(BAD, kinds, strict=True):
        good = {
            "data": zlib.compress(json.dumps([task, None, [job_id], {}]).encode()),
            "origin": queue,
            "status": "queued",
            "timeout": "60",
            "created_at": "2026-01-01T00:00:00Z",
        }
        redis.hset(Job.key_for(job_id), mapping=good | kind)  # type: ignore[arg-type]
        redis.rpush(f"rq:queue:{queue}", job_id)


@pytest.fixture
def listener() -> Any:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        one.settimeout(0.2)
        yield one


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_intake_calls_nothing_of_others_and_does_the_next(
    settings: Settings, redis: Redis, storage: Storage, tmp_path: Path, listener: socket.socket
) -> None:
    storage.put(f"models/{MODEL}.json", profile().model_dump_json().encode())
    storage.put_json(f"models/{MODEL}.shapes.json", {"unet": {}})
    put_bad(redis, "intake", INSPECT, tmp_path / "touched", url_of(listener))
    file = tmp_path / "file"
    file.write_bytes(b"no adapter")
    one = upload("e" * 32, b"no adapter")
    Uploads(storage, redis, settings).stage(one, file)
    done = worker_process(WORK, settings)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "touched").exists()
    assert counted(redis)[REFUSED] == len(BAD)
    assert Uploads(storage, redis, settings).get(one.id).status == "refused", done.stdout
    with pytest.raises(TimeoutError):
        listener.accept()


def test_a_generation_worker_hands_nothing_of_others_to_its_engine(
    settings: Settings, redis: Redis, tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bad(redis, generation_queue(MODEL), GENERATE, tmp_path / "touched", url_of(listener))
    Queues(redis, settings).enqueue_generation(MODEL, "e" * 32, ["a" * 64])
    worker = GenerationWorker(settings, affinity_queues(MODEL, redis, settings), "worker", redis)
    handed = []
    monkeypatch.setattr(worker, "execute_job", lambda job, queue: handed.append(job.id))
    monkeypatch.setattr(worker, "sweep", lambda: None)
    worker.work(burst=True, logging_level="ERROR")
    assert handed == ["e" * 32] and counted(redis)[REFUSED] == len(BAD)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(TimeoutError):
        listener.accept()


def test_an_engine_reads_what_it_is_handed_the_same_way(
    settings: Settings, redis: Redis, tmp_path: Path, listener: socket.socket
) -> None:
    """Whoever reaches Redis may change the hash after the worker has looked."""
    queue = generation_queue(MODEL)
    put_bad(redis, queue, GENERATE, tmp_path / "touched", url_of(listener))
    for job_id in BAD:
        perform(job_id, "1" * 32, KnownQueue(queue, connection=redis, serializer=SERIALIZER), "worker", redis, settings)
    assert counted(redis)[REFUSED] == len(BAD) and not (tmp_path / "touched").exists()


def test_what_redis_says_of_a_generation_is_believed_only_where_it_can_be_read(
    settings: Settings, redis: Redis, storage: Storage
) -> None:
    ledger = Ledger(storage, redis, settings)
    one, other = ledger.accept(request()), ledger.accept(request())
    final = redis.hget(live_key(other.id), "accepted")
    for bad in ({"final": "{"}, {"final": final}, {"accepted": b"\xff"}, {"status": "running", "step": "x"}):
        redis.hset(live_key(one.id), mapping=bad)  # type: ignore[arg-type]
        assert ledger.get(one.id).id == one.id
    redis.hset(live_key(one.id), "started_at", "soon")
    assert {found.id for found in ledger.list(10, None)[0]} == {one.id, other.id}


def test_a_worker_that_says_what_cannot_be_read_ends_no_list(redis: Redis) -> None:
    redis.sadd("rq:workers", "rq:worker:a", "rq:worker:b", b"\xff\xfe")
    redis.set("radiata:worker:a", "{")
    redis.set("radiata:worker:b", "[" * 100_000)
    assert worker_states(redis) == []
