"""The ways on the event loop and the careful ones are twins: the same judgement, records, keys in Redis and answers."""

import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.accepting import fast_acceptance
from app.scripts import Scripts
from app.shared.at_once import WouldWait, at_once
from app.shared.catalog import Catalog
from app.shared.generation_keys import pending_key
from app.shared.generations import Ledger
from app.shared.index import INDEX, WHOLE
from app.shared.job import wrong_with
from app.shared.lifecycle import live_key
from app.shared.profiles import Profiles
from app.shared.queue import generation_queue
from app.shared.records import PENDING
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from tests.app.shared.making import MODEL, profile, version

USES = [{"ref": "b", "strength": 0.5}, {"ref": "a:1"}]
BODIES = [
    {"prompt": "a red apple", "seed": 7},
    {"prompt": "a red apple", "seed": 7, "priority": "high"},
    {"prompt": "a red apple", "seed": 7, "priority": "low", "adapters": USES},
]
OUT_OF_TURN = ("created_at", "enqueued_at", "data", "description", "turn")  # of a job: which it is, and when


@pytest.fixture(autouse=True)
def at_hand(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters, in an index that is whole, and profile, at hand: the first request would go the careful way."""
    catalog = Catalog(storage, redis)
    for name in ("a", "b"):
        catalog.admit(version(name, name.encode()), {})
    catalog.newest()
    monkeypatch.setattr("app.shared.profiles.KEEP_S", 600.0)
    monkeypatch.setattr("app.shared.catalog.FACTS_KEEP_S", 600.0)
    for _ in range(2):
        one = api.post("/v1/generations", json=BODIES[2]).raise_for_status().json()["id"]
        Ledger(storage, redis, settings).remove(one)
    api.get("/v1/generations").raise_for_status()


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many requests went the fast way, and how many were left to the careful one."""
    counted = {"fast": 0, "careful": 0}
    quickly = fast_acceptance.quickly

    async def counting(*given: Any) -> Any:
        generation = await quickly(*given)
        counted["careful" if generation is None else "fast"] += 1
        return generation

    monkeypatch.setattr(fast_acceptance, "quickly", counting)
    return counted


@contextmanager
def carefully() -> Iterator[None]:
    """Have every request go the careful way."""

    async def leave(*_: object) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_acceptance, "quickly", leave)
        yield


def post(api: httpx.Client, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = api.post("/v1/generations", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/generations/{answer.json()['id']}"
    return answer.json()


def pages(api: httpx.Client, limit: int) -> list[str]:
    """The ids of all generations, page by page."""
    seen, cursor = [], {}
    while True:
        page = api.get("/v1/generations", params={"limit": limit, **cursor}).raise_for_status().json()
        seen += [one["id"] for one in page["generations"]]
        if page["next"] is None:
            return seen
        cursor = {"before": page["next"]}


def known(redis: Redis, one: str) -> dict[str, Any]:
    """Everything that Redis has of a generation, but for its id and time."""
    job = redis.hgetall(f"rq:job:{one}")
    assert wrong_with(one, {name.decode(): value for name, value in job.items()}) is None  # type: ignore[union-attr]
    assert one.encode() in zlib.decompress(job[b"data"])  # type: ignore[index]
    said = {name.decode(): value for name, value in job.items() if name.decode() not in OUT_OF_TURN}  # type: ignore[union-attr]
    live = redis.hgetall(live_key(one))
    events = [fields for _, fields in redis.xrange(f"radiata:events:{one}")]  # type: ignore[union-attr]
    kept = [redis.ttl(key) for key in (live_key(one), f"radiata:events:{one}", f"rq:job:{one}")]
    fields = sorted(job), sorted(live)  # type: ignore[arg-type]
    return {"job": said, "fields": fields, "live": live[b"status"], "events": events, "ttl": [one > 0 for one in kept]}  # type: ignore[index,operator]


@pytest.mark.parametrize("body", BODIES)
def test_both_ways_leave_the_same_behind(
    api: httpx.Client, storage: Storage, redis: Redis, ways: dict[str, int], body: dict[str, Any]
) -> None:
    fast = post(api, body)
    with carefully():
        careful = post(api, body)
    assert ways == {"fast": 1, "careful": 0}
    ids = fast["id"], careful["id"]
    same = [{**one, "id": "", "created_at": "", "queue_position": 0} for one in (fast, careful)]
    assert same[0] == same[1]
    assert (fast["queue_position"], careful["queue_position"]) == (0, 1)
    assert known(redis, ids[0]) == known(redis, ids[1])
    records = [PENDING.read(pending_key(one), storage.get(pending_key(one)) or b"") for one in ids]
    assert records[0].fingerprint == records[1].fingerprint
    assert redis.hget(live_key(ids[0]), "accepted") == storage.get(pending_key(ids[0]))
    queue = generation_queue(MODEL, body.get("priority", "normal"), profile().fingerprint)
    assert [one.decode() for one in redis.lrange(f"rq:queue:{queue}", 0, -1)] == list(ids)  # type: ignore[union-attr]
    assert f"rq:queue:{queue}".encode() in redis.smembers("rq:queues")  # type: ignore[operator]
    assert redis.zscore(INDEX, ids[0]) == int(ids[0][:12], 16) / 1000


def test_one_key_is_one_generation_on_either_way(api: httpx.Client, storage: Storage, ways: dict[str, int]) -> None:
    keys = {"Idempotency-Key": "key"}
    with ThreadPoolExecutor(8) as pool:
        ids = {one["id"] for one in pool.map(lambda _: post(api, BODIES[0], **keys), range(8))}
    with carefully():
        assert {post(api, BODIES[0], **keys)["id"]} == ids and ways["fast"] == 1
    assert [key.removeprefix("pending/") for key in storage.keys("pending")] == [f"{one}.json" for one in ids]
    assert api.post("/v1/generations", json=BODIES[1], headers=keys).status_code == 409


def test_a_job_is_filled_in_as_rq_itself_would_write_it(ledger: Ledger, redis: Redis) -> None:
    """Where a new RQ writes another hash, this says so."""
    one, queue = "1" * 32, generation_queue(MODEL)
    ledger.queues.enqueue_generation(MODEL, one, ["b" * 64, "a" * 64])
    theirs = redis.hgetall(f"rq:job:{one}")
    ours = fast_acceptance.filled(ledger.queues.template(queue), one, ["b" * 64, "a" * 64])
    encoded = {
        name.encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in ours.items()
    }
    when = dict.fromkeys((b"created_at", b"enqueued_at"), b"")
    assert encoded | when | {b"turn": b"1"} == theirs | when  # type: ignore[operator]


def test_positions_are_told_alike(api: httpx.Client, ledger: Ledger, redis: Redis) -> None:
    ids = [post(api, BODIES[number % 3])["id"] for number in range(12)]
    ledger.queues.enqueue_generation(MODEL, "0" * 32)  # of version 0.1: any base may draw it
    redis.lrem(f"rq:queue:{generation_queue(MODEL, 'normal', profile().fingerprint)}", 1, ids[3])  # type: ignore[arg-type]
    careful = {one: ledger.get(one).model_dump(mode="json") for one in ids}
    listed = {one["id"]: one for one in api.get("/v1/generations").json()["generations"]}
    assert listed == {one: api.get(f"/v1/generations/{one}").json() for one in ids} == careful
    assert sorted(one["queue_position"] for one in listed.values() if one["id"] != ids[3]) == [*range(7), *range(8, 12)]
    assert listed[ids[3]]["queue_position"] is None


def running(ledger: Ledger, redis: Redis, one: str) -> None:
    ledger.start(one)
    ledger.step(one, 2, 20)


def ended(ledger: Ledger, redis: Redis, one: str) -> None:
    ledger.cancel(one)


def forgotten(ledger: Ledger, redis: Redis, one: str) -> None:
    redis.delete(live_key(one), f"rq:job:{one}")


def ended_and_forgotten(ledger: Ledger, redis: Redis, one: str) -> None:
    ledger.cancel(one)
    redis.delete(live_key(one))


def of_no_status(ledger: Ledger, redis: Redis, one: str) -> None:
    redis.hset(live_key(one), "status", "some")


def nested(ledger: Ledger, redis: Redis, one: str) -> None:
    redis.hset(live_key(one), mapping=dict.fromkeys(("accepted", "final"), '{"wearing":' + "[" * 100000))


def spoilt(ledger: Ledger, redis: Redis, one: str) -> None:
    redis.hset(live_key(one), mapping={"accepted": b"\xff{", "step": "many", "started_at": "never"})


def no_hash(ledger: Ledger, redis: Redis, one: str) -> None:
    redis.delete(live_key(one))
    redis.set(live_key(one), "text")


def hostile_job(ledger: Ledger, redis: Redis, one: str) -> None:
    redis.hset(f"rq:job:{one}", "origin", "generate.'%[]:\n")


@pytest.mark.parametrize(
    "happened", [running, ended, forgotten, ended_and_forgotten, of_no_status, nested, spoilt, no_hash, hostile_job]
)
def test_whatever_happened_to_one_all_are_told(
    api: httpx.Client, ledger: Ledger, redis: Redis, happened: Callable[[Ledger, Redis, str], None]
) -> None:
    ids = [post(api, BODIES[0])["id"] for _ in range(3)]
    happened(ledger, redis, ids[1])
    page = api.get("/v1/generations").json()["generations"]
    assert [one["id"] for one in page] == ids[::-1]
    told = api.get(f"/v1/generations/{ids[1]}")
    assert told.status_code == 200 and told.json() == page[1]
    if happened not in (no_hash, hostile_job):
        assert told.json() == ledger.get(ids[1]).model_dump(mode="json")
    assert api.get("/v1/generations", params={"limit": 1, "before": ids[2]}).json()["next"] == ids[1]


def test_an_index_that_is_not_whole_is_made_again(api: httpx.Client, redis: Redis) -> None:
    ids = [post(api, BODIES[0])["id"] for _ in range(3)]
    redis.delete(INDEX)
    assert [one["id"] for one in api.get("/v1/generations").json()["generations"]] == ids[::-1]
    assert redis.zscore(INDEX, WHOLE) is not None


def test_an_adapter_that_redis_has_lost_is_found(api: httpx.Client, redis: Redis, ways: dict[str, int]) -> None:
    redis.delete("radiata:adapters")
    assert post(api, BODIES[2])["request"]["adapters"][0]["name"] == "b"
    assert ways == {"fast": 0, "careful": 1}
    post(api, BODIES[2])
    assert ways == {"fast": 1, "careful": 1}


SHA = {name: sha256(name.encode()).hexdigest() for name in ("a", "b")}
STRANGE_FIELDS: list[dict[str, str | bytes]] = [
    {"version a:1": b"\xff"},
    {"version a:1": "[" * 100_000},
    {"version a:1": "{}", "newest a": "9"},
    {"newest a": "1:2", "version a:1:2": "{}"},
    {"newest a": b"\xff"},
    {f"bytes {SHA['a']}": "b:1"},
    {f"bytes {SHA['a']}": "none:7"},
    {f"bytes {SHA['a']}": b"\xff:1 a:1"},
    {"whole": "x"},
]


@pytest.mark.parametrize("fields", STRANGE_FIELDS, ids=lambda fields: ",".join(fields))
def test_what_a_stranger_wrote_into_the_adapters_index_changes_no_answer(
    api: httpx.Client, redis: Redis, fields: dict[str, str | bytes]
) -> None:
    for ref in ("a", "a:1", f"sha256:{SHA['a']}"):
        redis.hset("radiata:adapters", mapping=fields)  # type: ignore[arg-type]
        (used,) = post(api, BODIES[0] | {"adapters": [{"ref": ref}]})["request"]["adapters"]
        assert (used["name"], used["version"], used["sha256"]) == ("a", 1, SHA["a"])


@pytest.mark.parametrize("member", [b"\xff", "text", "0" * 31, WHOLE, "token:0"], ids=repr)
def test_what_a_stranger_wrote_into_the_list_hides_nothing_and_goes(
    api: httpx.Client, redis: Redis, member: bytes | str
) -> None:
    ids = [post(api, BODIES[0])["id"] for _ in range(5)]
    for limit in (1, 2, 9):
        redis.zadd(INDEX, {member: redis.zscore(INDEX, ids[2]) + 0.0001})  # type: ignore[operator]
        if member != WHOLE:
            redis.zadd(INDEX, {member * 2: 9e9})  # type: ignore[misc]
        assert pages(api, limit) == ids[::-1]
    assert sorted(redis.zrange(INDEX, 0, -1)) == sorted([*(one.encode() for one in ids), WHOLE.encode()])  # type: ignore[type-var]


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x", "adapters": [{"ref": "none"}]},
        {"prompt": "x", "adapters": [{"ref": "a:9"}]},
        {"prompt": "x", "model": "none"},
        {"prompt": "x", "width": 8192, "steps": 9999},
        {"prompt": "x", "adapters": [{"ref": "a"}, {"ref": "a:1"}]},
        {"prompt": "x", "adapters": [{"ref": "a", "strengths": {"vae": 1.0}}]},
    ],
)
def test_refusals_are_told_alike(api: httpx.Client, storage: Storage, body: dict[str, Any]) -> None:
    fast = api.post("/v1/generations", json=body)
    with carefully():
        careful = api.post("/v1/generations", json=body)
    assert 400 <= fast.status_code < 500
    assert (fast.status_code, fast.json()) == (careful.status_code, careful.json())
    assert not list(storage.keys("pending"))


def test_a_redis_that_goes_between_the_two_scripts_costs_nothing(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Scripts.run

    async def away(self: Scripts, script: Any, *given: Any) -> Any:
        if script is fast_acceptance.QUEUE:
            raise RedisConnectionError("gone")
        return await run(self, script, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Scripts, "run", away)
        one = post(api, BODIES[0])
    assert one["queue_position"] is None and storage.get(pending_key(one["id"]))
    assert not redis.exists(f"rq:job:{one['id']}")
    assert json.loads(api.get(f"/v1/generations/{one['id']}").text)["status"] == "queued"
    sweep = Sweep(storage, redis, settings)
    sweep.run()
    sweep.run()
    queue = generation_queue(MODEL, "normal", profile().fingerprint)
    assert redis.lrange(f"rq:queue:{queue}", 0, -1) == [one["id"].encode()]


def test_a_script_that_was_sent_twice_queues_once(api: httpx.Client, redis: Redis, ledger: Ledger) -> None:
    """redis-py sends a pipeline again where a kept connection had died; a worker may have begun meanwhile."""
    one = post(api, BODIES[0])["id"]
    ledger.start(one)
    keys = [live_key(one), INDEX, f"radiata:events:{one}", f"rq:job:{one}", "rq:queues", "rq:queue:x"]
    assert redis.eval(fast_acceptance.QUEUE.text, len(keys), *keys, one, 9, 1, "{}", "channel", "a", "b") is None
    assert redis.hget(live_key(one), "status") == b"running" and not redis.exists("rq:queue:x")


def test_one_is_sent_to_look_and_the_others_make_do(storage: Storage, settings: Settings) -> None:
    """Where what is kept has become old, not everybody goes the careful way at once."""
    profiles = Profiles(storage, settings)
    profiles.get(MODEL)
    profiles._kept[MODEL] = (0.0, profiles._kept[MODEL][1])
    with at_once():
        with pytest.raises(WouldWait):
            profiles.get(MODEL)
        assert profiles.get(MODEL) == profile()
    Profiles(storage, settings).publish(profile(steps=7), {})
    assert profiles.get(MODEL).steps == 7  # who may wait looks
    with at_once():
        assert profiles.get(MODEL).steps == 7
