"""Work is taken for a model while somebody draws with it, and for a minute after; readiness says it as it is."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
from redis import Redis

from app.accepting.liveness import ANOTHER_BASE, LOOK_EVERY_S, Liveness
from app.shared.errors import Unavailable
from app.shared.identity import CLAIM
from app.shared.profiles import Profiles
from app.shared.queue import Queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.worker_state import ALIVE, UNSERVABLE, WorkerState, publish, tell_unservable, withdraw
from tests.app.conftest import serving
from tests.app.shared.making import MODEL, profile

OWN, OTHER = "0" * 64, "f" * 64
BODY = {"prompt": "a red apple", "seed": 7}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def alive(redis: Redis, remember_s: float = 60, base: str = "") -> None:
    worker = WorkerState(
        name="w", model=MODEL, base=base, host="here", state="idle", active=[], resident=[], since=datetime.now(UTC)
    )
    publish(redis, worker, 60, remember_s)
    redis.sadd("rq:workers", "rq:worker:w")


def is_accepted(liveness: Liveness, base: str = OWN) -> bool:
    try:
        liveness.require(profile(fingerprint=base))
    except Unavailable as error:
        assert error.code == "no_worker" and f"radiata worker {MODEL}" in error.message
        return False
    return True


@pytest.fixture
def patient(settings: Settings) -> Settings:
    return settings.model_copy(update={"accept_without_worker_s": 60.0})


def test_work_is_taken_for_a_minute_after_the_last_worker(redis: Redis, patient: Settings) -> None:
    clock = Clock()
    liveness = Liveness(redis, patient, clock)
    assert not is_accepted(liveness)
    alive(redis)
    clock.now += LOOK_EVERY_S
    assert is_accepted(liveness)
    redis.flushall()  # and with it every word of that worker
    for seconds, accepted in ((30, True), (29, True), (3, False)):
        clock.now += seconds
        assert is_accepted(liveness) is accepted
    alive(redis)
    clock.now += LOOK_EVERY_S
    assert is_accepted(liveness)


def test_who_was_started_since_believes_what_workers_wrote(redis: Redis, patient: Settings) -> None:
    alive(redis)
    withdraw(redis, "w")
    clock = Clock()
    liveness = Liveness(redis, patient, clock)
    assert is_accepted(liveness)
    clock.now += 61
    redis.delete(ALIVE + MODEL)
    assert not is_accepted(liveness)


def test_what_is_written_for_too_long_is_believed_for_as_long_as_is_set(redis: Redis, patient: Settings) -> None:
    """A clock that was set back keeps a key of Redis alive for an hour more."""
    redis.set(ALIVE + MODEL, 1)
    clock = Clock()
    liveness = Liveness(redis, patient, clock)
    assert is_accepted(liveness)
    clock.now += 61
    assert not is_accepted(liveness)


def test_always_is_always(redis: Redis, settings: Settings) -> None:
    assert is_accepted(Liveness(redis, settings))


@pytest.mark.parametrize("base", ["", OWN, OTHER])
def test_a_worker_counts_for_its_own_base_alone(redis: Redis, patient: Settings, base: str) -> None:
    """Whoever has another draws nothing of what is accepted now; one of version 0.1 does not say what it has."""
    alive(redis, base=base)
    liveness = Liveness(redis, patient, Clock())
    for pinned in (OWN, OTHER):
        assert is_accepted(liveness, pinned) is (base in ("", pinned))
    readiness = liveness.readiness([profile()])
    assert readiness.ready is (base != OTHER)
    assert readiness.not_ready == ({MODEL: ANOTHER_BASE} if base == OTHER else {})
    assert readiness.other_bases == ({MODEL: [OTHER]} if base == OTHER else {})
    withdraw(redis, "w")
    for pinned in (OWN, OTHER):
        assert is_accepted(Liveness(redis, patient, Clock()), pinned) is (base in ("", pinned)), "and so for a minute"


def test_a_redis_that_is_found_to_be_another_stores_takes_no_work(strict: httpx.Client, redis: Redis) -> None:
    """Its workers draw nothing of ours; the API may have started while Redis was away, or it was emptied since."""
    alive(redis)
    redis.set(CLAIM, "f" * 32)
    for _ in range(2):
        refused = strict.post("/v1/generations", json=BODY)
        assert (refused.status_code, refused.json()["code"]) == (503, "another_store")
        assert "RADIATA_REDIS_URL" in refused.json()["detail"]
    redis.delete(CLAIM)
    assert strict.post("/v1/generations", json=BODY).status_code == 202
    assert redis.get(CLAIM), "and it is ours from now on"


def test_once_it_is_found_to_be_another_stores_nobody_is_taken(
    settings: Settings, storage: Storage, redis: Redis
) -> None:
    """That its workers were seen a moment ago says nothing: as set by default, that would do for a minute."""
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    alive(redis)
    default = Settings.model_fields["accept_without_worker_s"].default
    usual = settings.model_copy(update={"accept_without_worker_s": default})
    with serving(usual) as client, ThreadPoolExecutor(10) as pool:

        def post(_: int) -> str:
            return client.post("/v1/generations", json=BODY).json().get("code", "accepted")

        def waiting() -> int:
            return Queues(redis, usual).waiting(MODEL, "low", profile().fingerprint)

        assert set(pool.map(post, range(10))) == {"accepted"} and waiting() == 10
        redis.set(CLAIM, "f" * 32)
        time.sleep(LOOK_EVERY_S)
        while (found := post(0)) == "accepted":  # another may have been sent to look
            pass
        before = waiting()
        assert found == "another_store"
        for _ in range(2):
            assert client.get("/readyz").json()["models"] == [MODEL], "and its workers are seen again"
            assert set(pool.map(post, range(20))) == {"another_store"} and waiting() == before
        redis.delete(CLAIM)
        assert post(0) == "accepted" and redis.get(CLAIM)
        assert set(pool.map(post, range(20))) == {"accepted"}


def test_two_readers_of_the_models_say_the_same(strict: httpx.Client, redis: Redis) -> None:
    alive(redis, base=OTHER)
    ready, models = strict.get("/readyz").json(), strict.get("/v1/models").json()
    assert not ready["ready"] and ready["not_ready"] == models["not_ready_why"] == {MODEL: ANOTHER_BASE}
    assert ready["other_bases"] == models["other_bases"] == {MODEL: [OTHER]}
    assert strict.post("/v1/generations", json=BODY).json()["code"] == "no_worker"


@pytest.fixture
def strict(settings: Settings, storage: Storage) -> Iterator[httpx.Client]:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"accept_without_worker_s": 0.0})) as client:
        yield client


def test_it_is_said_for_each_model_who_draws(strict: httpx.Client, redis: Redis) -> None:
    refused = strict.post("/v1/generations", json=BODY, headers={"idempotency-key": "k"})
    assert (refused.status_code, refused.json()["code"]) == (503, "no_worker")
    assert strict.post("/v1/generations", json=BODY | {"width": 8192}).status_code == 422, "what is wrong is said first"
    ready, models = strict.get("/readyz"), strict.get("/v1/models").json()
    assert ready.status_code == 503 and not ready.json()["ready"]
    assert ready.json()["queue"] and ready.json()["storage"] and ready.json()["models"] == []
    assert list(ready.json()["not_ready"]) == models["not_ready"] == [MODEL]
    assert [one["name"] for one in models["models"]] == [MODEL], "it is known what it takes"
    alive(redis)
    time.sleep(LOOK_EVERY_S)
    assert strict.get("/readyz").json() == {
        "ready": True,
        "queue": True,
        "storage": True,
        "models": [MODEL],
        "not_ready": {},
        "other_bases": {},
        "index": 1.0,
    }
    assert strict.get("/v1/models").json()["not_ready"] == []
    made = strict.post("/v1/generations", json=BODY, headers={"idempotency-key": "k"})
    assert made.status_code == 202
    withdraw(redis, "w")
    redis.delete(ALIVE + MODEL)
    time.sleep(LOOK_EVERY_S)
    assert strict.post("/v1/generations", json=BODY).status_code == 503
    again = strict.post("/v1/generations", json=BODY, headers={"idempotency-key": "k"})
    assert again.status_code == 202 and again.json()["id"] == made.json()["id"], "what was taken stays so"


def test_a_model_that_could_not_be_loaded_says_why_until_it_is(strict: httpx.Client, redis: Redis) -> None:
    tell_unservable(redis, MODEL, "vae has no weights")
    why = "it could not be loaded: vae has no weights"
    assert strict.get("/readyz").json()["not_ready"] == {MODEL: why}
    assert strict.get("/v1/models").json()["not_ready_why"] == {MODEL: why}
    tell_unservable(redis, MODEL, "")
    assert why not in strict.get("/readyz").text
    redis.set(UNSERVABLE + MODEL, b"\xff" * 10**6)  # Redis is data too
    assert len(strict.get("/readyz").json()["not_ready"][MODEL]) < 2000
