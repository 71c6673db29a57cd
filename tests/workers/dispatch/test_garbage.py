"""Law 5 in our bookkeeping: whatever stands under our keys and RQ's, workers sweep on, and everything can be seen."""

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import StopRequested

from app.shared.catalog import Catalog, file_key
from app.shared.generations import Ledger
from app.shared.identity import CLAIM
from app.shared.kinds import ALWAYS, HELD, OF_JOB, OF_QUEUE, mend
from app.shared.metrics import count, counted
from app.shared.queue import INTAKE, generation_queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.wire.upload import UploadStatus
from tests.app.shared.making import MODEL, request, upload, version
from tests.workers.dispatch.processes import worker_process
from workers.dispatch.affinity import affinity_queues
from workers.dispatch.generation_worker import GenerationWorker

BYTES = b"bytes"
SHA256 = sha256(BYTES).hexdigest()
TEXT = st.binary(max_size=12) | st.sampled_from(
    [b"nan", b"inf", b"-1", b"1e999", b"{}", b"whole", b"a:b:c", b"newest a"]
)
FLOATS = st.floats(allow_nan=False)
GARBAGE: dict[str, st.SearchStrategy[Any]] = {
    "set": TEXT,
    "rpush": TEXT,
    "sadd": TEXT,
    "zadd": st.dictionaries(TEXT, FLOATS, min_size=1, max_size=3),
    "hset": st.dictionaries(TEXT, TEXT, min_size=1, max_size=3),
    "xadd": st.dictionaries(TEXT, TEXT, min_size=1, max_size=3),
}
PUT = st.one_of(*(st.tuples(st.just(verb), what) for verb, what in GARBAGE.items()))


def put(redis: Redis, key: str, verb: str, what: Any, beside: bool) -> None:
    """Put garbage under a key, in place of what is there or, where that can be, beside it."""
    if not beside:
        redis.delete(key)
    try:
        if verb == "hset":
            redis.hset(key, mapping=what)
        else:
            getattr(redis, verb)(key, what)
    except RedisError:
        redis.delete(key)
        put(redis, key, verb, what, beside=False)


@bounded(
    max_examples=5,
    phases=(Phase.generate,),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_garbage_under_any_keys_ends_nothing(
    redis: Redis, settings: Settings, storage: Storage, tmp_path: Path, data: st.DataObject
) -> None:
    redis.flushall()
    for key in list(storage.keys("")):
        storage.delete(key)
    ledger, catalog, uploads = (
        Ledger(storage, redis, settings),
        Catalog(storage, redis),
        Uploads(storage, redis, settings),
    )
    made = [ledger.accept(request(), idempotency_key=str(number)).id for number in range(3)]
    storage.put(file_key(SHA256), BYTES)
    catalog.admit(version("known", BYTES), {})
    file = tmp_path / "file"
    file.write_bytes(BYTES)
    sent = upload()
    uploads.stage(sent, file)
    worker = GenerationWorker(settings, affinity_queues(MODEL, redis, settings), "worker", redis)
    queues = [*generation_queues(MODEL), INTAKE]
    keys = [*ALWAYS, *HELD]
    keys += [key.format(name) for key in OF_QUEUE for name in queues]
    keys += [key.format(name) for key in (*OF_JOB, "rq:job:{}") for name in (*made, sent.id)]
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=len(keys), unique=True)):
        put(redis, key, *data.draw(PUT), beside=data.draw(st.booleans()))
    until = time.monotonic() + 30
    while True:
        worker.run_maintenance_tasks()
        waiting = [one for name in generation_queues(MODEL) for one in ledger.queues.of(name).get_job_ids()]
        known = [one for one in made if ledger.queues.job(one)]
        if sorted(waiting) == sorted(known) == sorted(made) and redis.get(CLAIM):
            break
        assert time.monotonic() < until, (waiting, made)
        time.sleep(0.3)
    assert not worker._reported, "what was found was mended, and no look was broken off"
    assert sorted(one.id for one in ledger.list(50, None)[0]) == sorted(made)
    assert all(ledger.get(one).id == one for one in made)
    assert [one.name for one in catalog.newest()] == ["known"] and catalog.resolve("known").version == 1
    assert catalog.resolve(f"sha256:{SHA256}").name == "known"
    assert uploads.get(sent.id).status is UploadStatus.INSPECTING
    count(redis, {"images": 1})
    assert counted(redis)["images"] >= 1
    catalog.admit(version("other", BYTES), {})
    assert [one.name for one in catalog.newest()] == ["known", "other"]
    for one in made:
        mend(redis, OF_JOB, one)  # as a worker does after what Redis refused of one job
        assert ledger.start(one) is not None


def test_what_breaks_a_look_is_told_once_and_the_worker_goes_on(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = GenerationWorker(settings, affinity_queues(MODEL, redis, settings), "worker", redis)
    looked: list[int] = []

    def broken(_: object) -> None:
        looked.append(1)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(GenerationWorker, "_maintain", broken)
    for _ in range(3):
        worker.run_maintenance_tasks()
    printed = "".join(capfd.readouterr())
    assert len(looked) == 3 and printed.count("ZeroDivisionError: a bug") <= 1 and len(worker._reported) == 1


def test_a_stop_that_comes_in_a_look_is_a_stop(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = GenerationWorker(settings, affinity_queues(MODEL, redis, settings), "worker", redis)

    def stopped(_: object) -> None:
        raise StopRequested

    monkeypatch.setattr(GenerationWorker, "_maintain", stopped)
    with pytest.raises(StopRequested):
        worker.run_maintenance_tasks()


RUNNING = """
import sys
from app.shared.connection import connect
from app.shared.job import INTAKE, SERIALIZER, KnownQueue
from app.shared.settings import Settings
from workers.dispatch.affinity import affinity_queues
from workers.dispatch.generation_worker import GenerationWorker
from workers.dispatch.intake_worker import IntakeWorker

settings = Settings()
redis = connect(settings, patient=True)
if sys.argv[1] == "intake":
    worker = IntakeWorker(settings, [KnownQueue(INTAKE, connection=redis, serializer=SERIALIZER)], "intake", redis)
else:
    worker = GenerationWorker(settings, affinity_queues("m", redis, settings), "worker", redis)
worker.claim()
redis.set("radiata:store", "0" * 32)  # another service was first after somebody had emptied Redis
worker.work(logging_level="WARNING")
"""


@pytest.mark.parametrize("kind", ["intake", "generate"])
def test_a_running_worker_that_finds_another_store_says_so_and_ends(kind: str, settings: Settings) -> None:
    done = worker_process(RUNNING, settings, kind, SWEEP_EVERY_S="1")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("another store") == 1 and "Traceback" not in done.stderr
