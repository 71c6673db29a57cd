"""Law 5 in Redis: a job's hash that we would not have written is no job, and nothing that it names is imported."""

import json
import pickle
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job

from app.shared.job import (
    FIELDS,
    GENERATE,
    INSPECT,
    INTAKE,
    REFUSED,
    JobNewer,
    KnownJob,
    KnownQueue,
    data_of,
    wrong_with,
)
from app.shared.metrics import counted
from app.shared.queue import Queues, generation_queue
from app.shared.record_format import FORMAT
from app.shared.settings import Settings
from tests.app.shared.making import MODEL

JOB = "0" * 32
NEVER = "antigravity"  # a module that nothing here imports
LONG = b"[" * 5000


def packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode())


HOSTILE: dict[str, dict[str, bytes]] = {
    "another function": {"data": packed(["os.system", None, ["touch x"], {}])},
    "a module that is not imported": {"data": packed([f"{NEVER}.fly", None, [JOB], {}])},
    "a method": {"data": packed(["run", "workers.drawing.engine.Engine", [JOB], {}])},
    "another id": {"data": packed([GENERATE, None, ["1" * 32], {}])},
    "no argument": {"data": packed([GENERATE, None, [], {}])},
    "two arguments": {"data": packed([GENERATE, None, [JOB, JOB], {}])},
    "a keyword": {"data": packed([GENERATE, None, [JOB], {"x": 1}])},
    "huge arguments": {"data": packed([GENERATE, None, ["x" * 1_000_000], {}])},
    "a deep one": {"data": zlib.compress(LONG)},
    "a bomb": {"data": zlib.compress(bytes(50_000_000))},
    "pickled": {"data": zlib.compress(pickle.dumps((GENERATE, None, (JOB,), {})))},
    "pickled and not packed": {"data": pickle.dumps((GENERATE, None, (JOB,), {}))},
    "cut off": {"data": zlib.compress(data_of(GENERATE, JOB))[:-9]},
    "no JSON": {"data": zlib.compress(b"{{")},
    "nothing": {"data": b""},
    "a task of another queue": {"data": packed([INSPECT, None, [JOB], {}])},
    "a callback on success": {"success_callback_name": f"{NEVER}.fly".encode()},
    "a callback on failure": {"failure_callback_name": f"{NEVER}.fly".encode()},
    "a callback on a stop": {"stopped_callback_name": f"{NEVER}.fly".encode()},
    "a callback's time": {"success_callback_timeout": b"9"},
    "webhooks": {"webhooks": b'[{"url": "http://127.0.0.1:1/", "job_status": "finished"}]'},
    "a dependency": {"dependency_id": b"1" * 32},
    "dependencies": {"dependency_ids": b'["%s"]' % (b"1" * 32)},
    "repeats": {"repeats_left": b"9", "repeat_intervals": b"[0]"},
    "a rate limit": {"rate_limit_key": b"x", "rate_limit_concurrency": b"1"},
    "a group": {"group_id": b"x"},
    "a result": {"result": pickle.dumps(1)},
    "no time": {"timeout": b"-1"},
    "all the time": {"timeout": b"9" * 40},
    "a time that is none": {"timeout": b"soon"},
    "a date that is none": {"created_at": b"2026-99-99T00:00:00Z"},
    "a pause before each try": {"retry_intervals": b"[86400]"},
    "a status of RQ's that none of ours has": {"status": b"scheduled"},
    "a status that is none": {"status": b"\xff\xfe"},
    "other meta": {"meta": b'{"adapters": [], "x": 1}'},
    "pickled meta": {"meta": pickle.dumps({"adapters": []})},
    "bytes that are no text": {"description": b"\xff" * 32},
    "a field of nobody's": {"\xff": b"1"},
    "no origin": {"origin": b""},
    "an origin elsewhere": {"origin": b"default"},
}


@pytest.fixture
def queues(redis: Redis, settings: Settings) -> Queues:
    return Queues(redis, settings)


def put(queues: Queues, redis: Redis, **fields: bytes) -> KnownQueue:
    """A generation on its queue, with other fields than ours."""
    queues.enqueue_generation(MODEL, JOB, ["a" * 64])
    redis.hset(Job.key_for(JOB), mapping=fields)  # type: ignore[arg-type]
    return queues.of(generation_queue(MODEL))


def take(queue: Queue) -> tuple[Job, Queue] | None:
    return KnownQueue.dequeue_any([queue], None, queue.connection)


def refused(redis: Redis) -> float:
    return counted(redis).get(REFUSED, 0)


def test_what_we_write_is_ours(queues: Queues, redis: Redis) -> None:
    """Also while it runs and after a try has failed: RQ writes to it then."""
    queue = put(queues, redis, passed=b"3", passed_since=b"1700000000.5")
    taken = take(queue)
    assert taken is not None and taken[0].id == JOB
    assert taken[0].data == data_of(GENERATE, JOB) and taken[0].args == [JOB]
    taken[0].retries_left = 1
    with redis.pipeline() as pipe:
        taken[0].prepare_for_execution("emoji-64.0123456789ab", pipe)
        taken[0].heartbeat(cast(Any, taken[0].created_at), 60, pipe)
        taken[0].retry(queue, pipe)
        pipe.execute()
    assert queues.job(JOB) is not None
    queues.enqueue_inspection("1" * 32)
    assert queues.job("1" * 32) is not None
    assert refused(redis) == 0


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE)
def test_what_we_would_not_write_is_none(fields: dict[str, bytes], queues: Queues, redis: Redis) -> None:
    """The next is taken; of that one nothing is left, and it was counted."""
    queue = put(queues, redis, **fields)
    queues.enqueue_generation(MODEL, "1" * 32)
    taken = take(queue)
    assert taken is not None and taken[0].id == "1" * 32
    assert not redis.exists(Job.key_for(JOB)) and queue.intermediate_queue.get_job_ids() == ["1" * 32]
    assert refused(redis) == 1 and NEVER not in sys.modules
    queues.enqueue_generation(MODEL, JOB)
    assert take(queue) is not None, "what was accepted is queued anew"


def other_kind(redis: Redis) -> None:
    redis.delete(Job.key_for(JOB))
    redis.rpush(Job.key_for(JOB), "x")


ENTRIES: dict[str, Callable[[Redis], Any]] = {
    "a job of another kind of key": other_kind,
    "an id that is no text": lambda redis: redis.rpush(f"rq:queue:{INTAKE}", b"\xff\xfe"),
    "an id that is none": lambda redis: redis.rpush(f"rq:queue:{INTAKE}", "../../etc"),
    "an id with an execution": lambda redis: redis.rpush(f"rq:queue:{INTAKE}", f"{JOB}:1"),
    "an id longer than any": lambda redis: redis.rpush(f"rq:queue:{INTAKE}", "0" * 1_000_000),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_entries_that_name_no_job_are_passed_over(entry: Callable[[Redis], Any], queues: Queues, redis: Redis) -> None:
    queues.enqueue_inspection(JOB)
    entry(redis)
    queues.enqueue_inspection("1" * 32)
    queue = queues.of(INTAKE)
    assert set(queue.get_job_ids()) <= {JOB, "1" * 32}
    taken = []
    while found := take(queue):
        taken.append(found[0].id)
    assert taken[-1] == "1" * 32 and queue.intermediate_queue.get_job_ids() == taken
    assert refused(redis) == 1


def test_a_job_on_a_queue_that_is_not_its_own_is_none(queues: Queues, redis: Redis) -> None:
    queues.enqueue_inspection(JOB)
    redis.rename(f"rq:queue:{INTAKE}", f"rq:queue:{generation_queue(MODEL)}")
    assert take(queues.of(generation_queue(MODEL))) is None
    assert refused(redis) == 1 and queues.job(JOB) is None


def test_cleaning_imports_nothing_either(queues: Queues, redis: Redis) -> None:
    """RQ calls a callback of a job whose worker died, in whoever cleans up after it."""
    queue = put(queues, redis, failure_callback_name=f"{NEVER}.fly".encode(), status=b"started")
    queues.enqueue_generation(MODEL, "1" * 32)
    job = queues.job("1" * 32)
    assert job is not None
    with redis.pipeline() as pipe:
        execution = Execution.create(job, ttl=60, pipeline=pipe)
        pipe.execute()
    job.set_status("started")  # type: ignore[arg-type]
    registry = queue.started_job_registry.key
    bad = f"{JOB}:{'2' * 32}"
    for entry in (bad, execution.composite_key, b"\xff", "no colon", "a:b:c"):
        redis.zadd(registry, {entry: 1})  # type: ignore[dict-item, arg-type]
    redis.rpush(queue.intermediate_queue_key, b"\xff", "3" * 32)
    assert set(queue.tries()) == {bad, execution.composite_key}
    queue.clean([bad, execution.composite_key])
    assert NEVER not in sys.modules and refused(redis) == 1
    assert queue.get_job_ids()[0] == "1" * 32, "a real one is tried again"
    assert redis.zcard(registry) == 0 and redis.llen(queue.intermediate_queue_key) == 0


def test_what_is_left_of_a_dropped_job_stands_in_nobodys_way(queues: Queues, redis: Redis) -> None:
    """A heartbeat after it was dropped leaves a hash of one field; the id may be queued again all the same."""
    redis.hset(Job.key_for(JOB), "last_heartbeat", "2026-01-01T00:00:00Z")
    with pytest.raises(NoSuchJobError):
        KnownJob.fetch(JOB, connection=redis)
    queues.enqueue_generation(MODEL, JOB)
    assert queues.waiting(MODEL) == 1 and refused(redis) == 0


def test_a_job_is_dropped_while_its_try_ends(queues: Queues, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """RQ lists its tries and then reads each: one that ended in between is no error."""
    queues.enqueue_generation(MODEL, JOB)
    job = queues.job(JOB)
    assert job is not None
    with redis.pipeline() as pipe:
        execution = Execution.create(job, ttl=60, pipeline=pipe)
        pipe.execute()
    fetch = Execution.fetch

    def late(*args: Any, **named: Any) -> Execution:
        redis.delete(execution.key)
        return fetch(*args, **named)

    monkeypatch.setattr(Execution, "fetch", late)
    queues.drop(JOB)
    assert queues.job(JOB) is None and queues.waiting(MODEL) == 0


VALUES = st.one_of(st.binary(max_size=40), *(st.from_regex(pattern, fullmatch=True) for pattern in FIELDS.values()))


@bounded(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*FIELDS, "webhooks", "dependency_ids", "repeats_left", "x"]), VALUES))
def test_random_hashes_are_refused_or_say_what_ours_do(redis: Redis, fields: dict[str, bytes]) -> None:
    """Whatever they say: one that is restored calls one of two functions, with its own id, and nothing after it."""
    redis.delete(Job.key_for(JOB))
    base = {"data": zlib.compress(data_of(INSPECT, JOB)), "origin": b"intake", "status": b"queued"}
    redis.hset(Job.key_for(JOB), mapping=base | fields)  # type: ignore[arg-type]
    try:
        job = KnownJob.fetch(JOB, connection=redis, serializer="json")
    except JobNewer:
        assert redis.exists(Job.key_for(JOB)) and int(re.findall(rb"\d+", fields["meta"])[0]) > FORMAT
        return
    except NoSuchJobError:
        assert not redis.exists(Job.key_for(JOB))
        return
    assert wrong_with(JOB, base | fields) is None
    assert (job.func_name, job.args, job.kwargs) in ((GENERATE, [JOB], {}), (INSPECT, [JOB], {}))
    assert not (job.webhooks or job.dependency_ids or job.repeats_left or job.has_rate_limit)
    assert job.success_callback is job.failure_callback is job.stopped_callback is None


def test_a_job_may_say_as_many_adapters_as_the_settings_allow(redis: Redis, settings: Settings) -> None:
    """What is queued is never refused for its length: that would be queued anew, for ever."""
    limit = Settings.model_fields["max_adapters"].metadata
    most = next(one.le for one in limit if hasattr(one, "le"))
    queues = Queues(redis, settings)
    queues.enqueue_generation(MODEL, "1" * 32, [f"{number:064x}" for number in range(most)])
    job = queues.job("1" * 32)
    assert job is not None and len(job.meta["adapters"]) == most
