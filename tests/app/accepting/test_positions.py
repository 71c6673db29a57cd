"""Places in a long queue are told near its ends, by both ways alike, and cost Redis the same however long it is."""

import time

from redis import Redis

from app.fast_reading import MANY
from app.shared.connection import ANSWER_S
from app.shared.generations import Ledger
from app.shared.lifecycle import live_key
from app.shared.profiles import Profiles
from app.shared.queue import NEAR, generation_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.conftest import serving
from tests.app.shared.making import MODEL, profile

QUEUE = f"rq:queue:{generation_queue(MODEL, 'normal', profile().fingerprint)}"
CHUNK = 10_000


def fill(redis: Redis, count: int) -> None:
    """Let so many more wait, of which nothing else is known."""
    for first in range(0, count, CHUNK):
        redis.rpush(QUEUE, *(f"{number:032x}" for number in range(first, min(first + CHUNK, count))))


def test_places_are_told_near_both_ends_by_both_ways(settings: Settings, storage: Storage, redis: Redis) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    ledger = Ledger(storage, redis, settings)
    with serving(settings.model_copy(update={"max_queued": 10 * NEAR})) as api:

        def post() -> str:
            return api.post("/v1/generations", json={"prompt": "a red apple"}).raise_for_status().json()["id"]

        ids = [post()]
        fill(redis, NEAR - 2)
        ids += [post(), post()]  # the last of the first, and the one after it
        fill(redis, NEAR)
        ids += [post(), post()]  # the one before the first of the last, and that
        fill(redis, NEAR - 2)
        ids += [post()]
        last = redis.llen(QUEUE) - 1  # type: ignore[operator]
        listed = {one["id"]: one["queue_position"] for one in api.get("/v1/generations").json()["generations"]}
        assert [listed[one] for one in ids] == [0, NEAR - 1, None, None, last - NEAR + 1, last]
        for one, place in listed.items():
            assert api.get(f"/v1/generations/{one}").json()["queue_position"] == place
            assert ledger.get(one).queue_position == place


def test_a_page_of_the_oldest_of_many_is_read_while_somebody_waits(redis: Redis) -> None:
    """Whoever looked for each through the whole queue had Redis answer nobody for seconds."""
    oldest = [f"f{number:031x}" for number in range(200)]
    for one in oldest:
        redis.hset(live_key(one), mapping={"accepted": "{}", "status": "queued"})
        redis.hset(f"rq:job:{one}", "origin", QUEUE.removeprefix("rq:queue:"))
    redis.rpush(QUEUE, *oldest)
    fill(redis, 100_000)
    began = time.monotonic()
    rows = redis.eval(MANY.text, 0, *oldest)
    assert time.monotonic() - began < ANSWER_S
    assert [(row[0].decode(), row[-1]) for row in rows] == [  # type: ignore[union-attr]
        (one, place) for place, one in enumerate(oldest)
    ]
