"""Taking what suits out of RQ's own queues: once each, within the bounds, whoever else takes at the same time."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import pytest
from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.job import Job

from app.shared.connection import connect
from app.shared.job import REFUSED
from app.shared.lost import Lost, look, queues_of
from app.shared.metrics import FITS, count, counted, of_choice
from app.shared.preprocessing import digest, served
from app.shared.queue import Queues
from app.shared.settings import Settings
from tests.app.shared.making import MODEL
from workers.dispatch.affinity import TAKE, AffinityQueue, affinity_queues

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"affinity_window": 8, "affinity_passes": 3, "affinity_wait_s": 60.0})


@pytest.fixture
def queues(redis: Redis, settings: Settings) -> Queues:
    return Queues(redis, settings)


@pytest.fixture
def mine(redis: Redis, settings: Settings) -> list[Queue]:
    """The queues of a worker whose engine has A active, and B in memory."""
    return with_active(A, affinity_queues(MODEL, redis, settings), resident=[A, B])


def with_active(active: str, queues: list[Queue], resident: Iterable[str] = ()) -> list[Queue]:
    assert isinstance(queues[0], AffinityQueue)
    queues[0].engine_state.active, queues[0].engine_state.resident = frozenset({active}), frozenset(resident)
    return queues


def named(word: str) -> str:
    """The id of a job that this test calls so."""
    return word.encode().hex().ljust(32, "0")


def words(job_ids: Iterable[str]) -> list[str]:
    return [bytes.fromhex(job_id).rstrip(b"\0").decode() for job_id in job_ids]


def take(mine: list[Queue], timeout: int | None = None) -> str | None:
    taken = AffinityQueue.dequeue_any(mine, timeout, connection=mine[0].connection, serializer="json")
    return words([taken[0].id])[0] if taken else None


def take_all(mine: list[Queue]) -> list[str]:
    return list(iter(lambda: take(mine), None))


def enqueue(queues: Queues, **stacks: str) -> None:
    for word, adapters in stacks.items():
        queues.enqueue_generation(MODEL, named(word), adapters.split())


def figure(redis: Redis, job_id: str, name: str) -> float | None:
    value = cast(bytes | None, redis.hget(Job.key_for(named(job_id)), name))
    return None if value is None else float(value)


def test_what_suits_is_taken_first_and_the_others_are_counted(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    enqueue(queues, cold=C, warm=B, same=A, more=f"{A} {C}", again=A)
    assert take(mine) == "same"
    assert [figure(redis, one, "passed") for one in ("cold", "warm", "more")] == [1, 1, None]
    assert (figure(redis, "cold", "passed_since") or 0) > time.time() - 60
    assert take(mine) == "again"
    assert take(mine) == "more"
    assert figure(redis, "cold", "passed") == 3
    assert take_all(mine) == ["cold", "warm"], "nobody may pass cold a fourth time"


def test_how_well_each_fits_is_counted(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    count(redis, {})
    before = counted(redis)
    enqueue(queues, other=C, same=A, near=f"{A} {C}", resident=B)
    taken = take_all(mine)
    count(redis, {})
    after = {fit: counted(redis).get(of_choice(fit), 0.0) - before.get(of_choice(fit), 0.0) for fit in FITS}
    assert taken == [*FITS] and after == dict.fromkeys(FITS, 1.0)


def test_seconds_bound_it_too(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    enqueue(queues, cold=C, same=A, again=A)
    assert take(mine) == "same"
    redis.hset(Job.key_for(named("cold")), "passed_since", f"{time.time() - 61:.6f}")
    assert take_all(mine) == ["cold", "again"]


def test_priority_goes_first_and_places_are_counted_over_it(queues: Queues, mine: list[Queue]) -> None:
    for priority in ("low", "normal", "high"):
        for number in range(2):
            queues.enqueue_generation(MODEL, named(f"{priority}{number}"), [A if number else C], priority)
    assert [queues.position(MODEL, named(one)) for one in ("high0", "normal0", "low1", "gone")] == [0, 2, 5, None]
    assert [queues.waiting(MODEL, one) for one in ("high", "normal", "low")] == [2, 4, 6]
    assert take_all(mine) == ["high1", "high0", "normal1", "normal0", "low1", "low0"]


def test_a_retry_goes_first_and_so_does_what_nothing_is_known_of(
    queues: Queues, mine: list[Queue], redis: Redis
) -> None:
    enqueue(queues, retry=C, unknown=C, same=A)
    redis.hset(Job.key_for(named("retry")), "started_at", "2026-01-01T00:00:00Z")
    redis.hdel(Job.key_for(named("unknown")), "meta")
    assert take_all(mine) == ["retry", "unknown", "same"]


def test_a_job_of_version_0_1_is_taken_in_its_turn(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    """Its meta names the adapters by another word: they are not read, and it is drawn all the same."""
    enqueue(queues, old=A, same=A)
    redis.hset(Job.key_for(named("old")), "meta", json.dumps({"wears": [A]}))
    assert take_all(mine) == ["same", "old"]
    assert counted(redis).get(REFUSED, 0) == 0


def test_the_script_refuses_what_a_look_could_not_know(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    """One more passed over, one more urgent, one gone: all between the look and the taking."""
    keys = [queue.key for queue in mine]
    script, arguments = redis.register_script(TAKE), [3, 60.0, Job.redis_job_namespace_prefix]

    def refused(job_id: str) -> bool:
        return script(keys=[*keys[:2], f"{keys[1]}:intermediate"], args=[named(job_id), *arguments]) == 0

    enqueue(queues, cold=C, same=A)
    assert refused("gone")
    redis.hset(Job.key_for(named("cold")), "passed", 3)
    assert refused("same")
    queues.enqueue_generation(MODEL, named("urgent"), [C], "high")
    assert refused("cold")
    assert figure(redis, "cold", "passed") == 3 and queues.waiting(MODEL) == 3


def test_it_is_taken_as_rq_takes_it(queues: Queues, mine: list[Queue]) -> None:
    """Its worker may die at once: RQ's list of what is on its way has it."""
    normal = mine[1]
    enqueue(queues, cold=C, same=A)
    assert take(mine) == "same"
    assert words(normal.intermediate_queue.get_job_ids()) == ["same"] and words(normal.get_job_ids()) == ["cold"]


def test_a_job_that_died_with_its_worker_on_the_way_is_found(queues: Queues, redis: Redis, settings: Settings) -> None:
    enqueue(queues, one=A)
    redis.lpop(queues.of(f"generate.{MODEL}").key)
    lost, names = Lost(redis, queues, settings, "generations"), queues_of(redis, settings)
    assert list(lost.among([named("one")], look(redis, names))) == [], "it may be between queue and worker"
    time.sleep(settings.sweep_every_s / 2)
    assert words(job_id for job_id, _ in lost.among([named("one")], look(redis, names))) == ["one"]


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_one_that_comes_while_nothing_waits_is_taken_at_once(queues: Queues, mine: list[Queue], priority: Any) -> None:
    with pytest.raises(DequeueTimeout):
        take(mine, timeout=1)
    timer = threading.Timer(0.2, queues.enqueue_generation, (MODEL, named("late"), [C], priority))
    timer.start()
    assert take(mine, timeout=30) == "late"
    timer.join()
    queue = next(queue for queue in mine if queue.name == queues.job(named("late")).origin)  # type: ignore[union-attr]
    assert words(queue.intermediate_queue.get_job_ids()) == ["late"]


def test_nothing_is_left_of_a_job_that_was_dropped(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    enqueue(queues, cold=C, same=A, stale=A)
    assert take(mine) == "same"
    queues.drop(named("cold"))
    redis.delete(Job.key_for(named("stale")))  # gone from under its place in the queue
    assert take_all(mine) == []
    assert words(mine[1].intermediate_queue.get_job_ids()) == ["same"]
    assert set(redis.keys("rq:job:*")) == {f"rq:job:{named('same')}".encode()}  # type: ignore[arg-type]


def test_an_emptied_redis_changes_nothing(queues: Queues, mine: list[Queue], redis: Redis) -> None:
    enqueue(queues, cold=C, same=A)
    assert take(mine) == "same"
    redis.flushall()
    redis.script_flush()
    assert take(mine) is None
    enqueue(queues, cold=C, same=A)
    assert take_all(mine) == ["same", "cold"]


def test_the_bounds_hold_and_nobody_is_taken_twice_whoever_takes_at_once(settings: Settings) -> None:
    """Four workers of four tastes, and one who queues: law 4 and the bounds of affinity at once."""
    jobs, passes, adapters = 400, settings.affinity_passes, [A, B, C, "d" * 64]
    dice, taken = random.Random(1), Counter[str]()
    lock, queued = threading.Lock(), threading.Event()

    def work(own: str) -> None:
        with connect(settings) as redis:
            mine = with_active(own, affinity_queues(MODEL, redis, settings))
            while (job_id := take(mine)) or not queued.is_set():
                with lock:
                    taken[job_id or ""] += job_id is not None

    with connect(settings) as redis:
        queues = Queues(redis, settings)
        enqueue(queues, **{f"{number:04}": dice.choice(adapters) for number in range(jobs // 2)})
        threads = [threading.Thread(target=work, args=(one,)) for one in adapters]
        for thread in threads:
            thread.start()
        enqueue(queues, **{f"{number:04}": dice.choice(adapters) for number in range(jobs // 2, jobs)})
        queued.set()
        for thread in threads:
            thread.join()
        order = words(affinity_queues(MODEL, redis, settings)[1].intermediate_queue.get_job_ids())  # as they were taken
    assert +taken == Counter(order) == Counter(f"{number:04}" for number in range(jobs))
    overtaken = [sum(later > job_id for later in order[:place]) for place, job_id in enumerate(order)]
    print(f"overtaken: at most {max(overtaken)} times, {sum(map(bool, overtaken))} of {jobs} at all")
    assert max(overtaken) == passes


def test_each_is_drawn_by_one_that_has_its_models_and_the_oldest_goes_first(redis: Redis, settings: Settings) -> None:
    """Random requests and workers: nobody is given what they cannot draw, and nothing stays while somebody can."""
    chance = random.Random(7)
    base, depth, pose = "0" * 64, {"depth": ["d"]}, {"pose": ["p", "q"]}
    hads: list[dict[str, list[str]]] = [{}, depth, depth | pose, {"depth": ["other"]}]
    workers = [affinity_queues(MODEL, redis, settings, base, served(had)) for had in hads]
    everything: list[dict[str, list[str]]] = [{}, depth, pose, depth | pose, {"depth": []}, {"depth": ["nobody"]}]
    queues, needs = Queues(redis, settings), {}
    for number in range(120):
        needs[str(number)] = needed = chance.choice(everything)
        queues.enqueue_generation(MODEL, named(str(number)), base=base, needs=digest(needed))
    drawn: dict[str, int] = {}
    while len(drawn) < sum(one != {"depth": ["nobody"]} for one in needs.values()):
        worker = chance.randrange(len(workers))
        able = [one for one in needs if one not in drawn and digest(needs[one]) in {"", *served(hads[worker])}]
        taken = take(workers[worker])
        assert taken == (able[0] if able else None), "the oldest that it can draw"
        if taken is not None:
            drawn[taken] = worker
    assert [take(one) for one in workers] == [None] * len(workers)
    left = {one for one in needs if one not in drawn}
    assert left == {one for one, needed in needs.items() if needed == {"depth": ["nobody"]}}
