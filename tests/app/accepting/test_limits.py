"""Limits: as many as allowed, and not one more, whoever asks at once; a place is neither lost nor kept for nobody."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import httpx
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.accepting.limits import Limits
from app.http.standing import headers_of
from app.shared.errors import Standing, TooMany, Unavailable
from app.shared.generations import PLACES, Ledger
from app.shared.keys import Keyring
from app.shared.living import living_key
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.wire.generation import Status
from app.shared.wire.key import SCOPES, KeyLimits
from tests.app.conftest import serving
from tests.app.shared.making import profile, request

BODY = {"prompt": "a red apple", "seed": 7}
MOST = 5
PLACES_OF = living_key(PLACES.name, "")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"limit_generations": MOST})


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def taken(redis: Redis, key: str = PLACES_OF) -> int:
    return redis.zcard(key)  # type: ignore[return-value]


def post(api: httpx.Client, key: str = "", **headers: str) -> httpx.Response:
    return api.post("/v1/generations", json=BODY, headers=({"X-API-Key": key} if key else {}) | headers)


def test_only_who_may_do_all_passes_everybodys(settings: Settings, storage: Storage) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    ring = Keyring(storage)
    keys = [ring.add(SCOPES)[1], ring.add(("draw",))[1], ring.add(("draw",), owner="ada")[1]]
    with serving(settings.model_copy(update={"limit_generations": 0})) as api:
        for path, wrapped in (("", lambda one: one), ("/batch", lambda one: {"requests": [one]})):
            for priority, key in product(("high", "normal", "low"), keys):
                status = 403 if priority == "high" and key != keys[0] else 202
                body = wrapped(BODY | {"priority": priority})
                answer = api.post(f"/v1/generations{path}", json=body, headers={"X-API-Key": key})
                assert answer.status_code == status, (path, priority, answer.text)
                if status == 403:
                    (fault,) = answer.json()["errors"]
                    assert answer.json()["code"] == "scope_missing"
                    assert fault["pointer"].endswith("/priority") and fault["allowed"] == ["normal", "low"]


def test_of_fifty_at_once_just_as_many_are_accepted_as_may(api: httpx.Client, redis: Redis, storage: Storage) -> None:
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: post(api), range(50)))
    assert Counter(one.status_code for one in found) == {202: MOST, 429: 50 - MOST}
    assert len(list(storage.keys("pending"))) == MOST == taken(redis)
    refused = next(one for one in found if one.status_code == 429)
    assert refused.json()["code"] == "quota_exceeded" and "wait" in refused.json()["detail"]
    assert refused.json()["limit"] == {"name": "generations", "limit": MOST}
    assert refused.headers["Retry-After"] and refused.headers["RateLimit"] == '"generations";r=0;t=5'
    accepted = next(one.json()["id"] for one in found if one.status_code == 202)
    api.post(f"/v1/generations/{accepted}/cancel").raise_for_status()
    assert [post(api).status_code for _ in range(2)] == [202, 429]


def test_the_same_key_again_takes_no_other_place(api: httpx.Client, redis: Redis) -> None:
    named = {"Idempotency-Key": "one"}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: post(api, **named), range(8)))
    assert {one.json()["id"] for one in found} == {found[0].json()["id"]} and taken(redis) == 1
    assert [post(api).status_code for _ in range(MOST)] == [202] * (MOST - 1) + [429]
    assert post(api, **named).status_code == 202, "what was accepted is told, however many there are"


def test_what_is_refused_or_fails_keeps_no_place(
    api: httpx.Client, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.post("/v1/generations", json=BODY | {"steps": 10_000}).status_code == 422

    def fails(*_: object) -> bool:
        raise Unavailable("storage_unavailable", "storage does not answer: try again in a moment")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "create", fails)
        assert [post(api).status_code for _ in range(MOST + 1)] == [503] * (MOST + 1)
    assert taken(redis) == 0
    assert [post(api).status_code for _ in range(MOST + 1)] == [202] * MOST + [429]


def test_a_batch_has_places_for_all_or_is_refused_whole(api: httpx.Client, redis: Redis, storage: Storage) -> None:
    def batch(many: int, **headers: str) -> httpx.Response:
        return api.post("/v1/generations/batch", json={"requests": [BODY] * many}, headers=headers)

    assert batch(MOST + 1).status_code == 429
    assert (taken(redis), list(storage.keys("pending"))) == (0, [])
    assert [batch(MOST - 1, **{"Idempotency-Key": "one"}).status_code for _ in range(2)] == [202, 202]
    assert [batch(2).status_code, batch(1).status_code] == [429, 202]
    assert taken(redis) == MOST


def test_every_end_frees_the_place(ledger: Ledger, redis: Redis) -> None:
    made = [ledger.accept(request()) for _ in range(3)]
    assert taken(redis) == 3
    ledger.cancel(made[0].id)
    ledger.fail(made[1], "worker_died", "its worker died on every try")
    ledger.finish(made[2].model_copy(update={"status": Status.SUCCEEDED}))
    assert taken(redis) == 0


def test_a_sweep_frees_what_nobody_has_and_counts_what_redis_forgot(
    ledger: Ledger, redis: Redis, storage: Storage, settings: Settings
) -> None:
    living, ended = ledger.accept(request()), ledger.accept(request())
    ledger.cancel(ended.id)
    now = redis.time()[0]  # type: ignore[index]
    redis.zadd(PLACES_OF, {ended.id: 0, "a" * 32: now - 3600, "b" * 32: now})  # told late; died meanwhile; under way
    Sweep(storage, redis, settings).run()
    assert set(redis.zrange(PLACES_OF, 0, -1)) == {living.id.encode(), b"b" * 32}  # type: ignore[arg-type]
    redis.flushall()
    until = time.monotonic() + 20
    while taken(redis) == 0 and time.monotonic() < until:
        Sweep(storage, redis, settings).run()
        time.sleep(0.2)
    assert redis.zrange(PLACES_OF, 0, -1) == [living.id.encode()]
    redis.set(PLACES_OF, "of another kind")
    Sweep(storage, redis, settings).run()
    assert redis.exists(PLACES_OF) == 0


def test_without_redis_nothing_limited_is_accepted_and_requests_pass(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(Redis, "register_script", lambda *_: away)
    limits = Limits(redis, settings.model_copy(update={"limit_uploads": 1}))
    with pytest.raises(Unavailable), limits.place(PLACES.name, "a" * 32):
        pytest.fail("it was accepted")
    with pytest.raises(Unavailable):
        limits.upload()


def test_a_bucket_fills_as_time_goes_and_holds_no_more_than_a_minute_brings(redis: Redis, settings: Settings) -> None:
    limits = Limits(redis, settings.model_copy(update={"limit_uploads": 3}))
    key = "radiata:rate:uploads:@"

    def uploads() -> int:
        for count in range(10):
            try:
                limits.upload()
            except TooMany as error:
                assert error.code == "rate_limited" and 0 < error.standing.reset_s <= 20
                return count
        return 10

    def later(seconds: float) -> None:
        at = float(redis.hget(key, "at"))  # type: ignore[arg-type]
        redis.hset(key, "at", f"{at - seconds:.6f}")

    assert uploads() == 3 and uploads() == 0
    later(41)
    assert uploads() == 2
    later(86_400)
    assert uploads() == 3
    later(-86_400)  # the clock was set back
    assert uploads() == 0
    redis.hset(key, mapping={"tokens": "much", "at": "soon"})
    assert uploads() == 3


def test_a_batch_counts_as_all_of_its_requests_and_what_a_minute_lacks_is_owed(
    settings: Settings, storage: Storage, redis: Redis
) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"limit_requests": 4, "limit_generations": 0})) as api:

        def batch(number: int) -> httpx.Response:
            return api.post("/v1/generations/batch", json={"requests": [BODY] * number})

        found = [batch(number) for number in (2, 9, 1)]
        assert [one.status_code for one in found] == [202, 202, 429]
        assert [one.headers["RateLimit-Remaining"] for one in found] == ["2", "0", "0"]
        assert 110 < int(found[2].headers["Retry-After"]) <= 120  # 7 are owed
        assert len(list(storage.keys("pending"))) == 11
        assert redis.ttl("radiata:rate:requests:@") > 120  # type: ignore[operator]


def test_keys_of_an_owner_share_its_limits_unless_they_have_their_own(
    settings: Settings, storage: Storage, redis: Redis
) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    own = [("ada", KeyLimits()), ("ada", KeyLimits()), ("ada", KeyLimits(requests=0, generations=1))]
    own.append(("bob", KeyLimits(requests=1)))
    keyring = Keyring(storage)
    first, second, unlimited, bob = (keyring.add(SCOPES, owner=owner, limits=limits)[1] for owner, limits in own)
    with serving(settings.model_copy(update={"limit_requests": 4})) as api:

        def ask(key: str) -> httpx.Response:
            return api.get("/v1/models", headers={"X-API-Key": key})

        asked = [ask(key) for key in (first, second, first, second, first)]
        assert [one.status_code for one in asked] == [200] * 4 + [429]
        assert [one.headers["RateLimit-Remaining"] for one in asked] == ["3", "2", "1", "0", "0"]
        assert asked[0].headers["RateLimit-Policy"] == '"requests";q=4;w=60'
        assert asked[-1].json()["code"] == "rate_limited" and 1 <= int(asked[-1].headers["Retry-After"]) <= 15
        assert [ask(bob).status_code for _ in range(2)] == [200, 429]
        assert [ask(unlimited).status_code for _ in range(9)] == [200] * 9
        assert "RateLimit" not in ask(unlimited).headers
        assert api.get("/healthz").status_code == 200
        assert [post(api, unlimited).status_code for _ in range(2)] == [202, 429]
    assert taken(redis, living_key(PLACES.name, "ada")) == 1


def test_a_service_without_limits_counts_nothing(settings: Settings, storage: Storage, redis: Redis) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"limit_generations": 0})) as api:
        answers = [post(api) for _ in range(3)]
    assert [one.status_code for one in answers] == [202] * 3
    assert not [name for name in answers[0].headers if name.startswith("ratelimit")]
    assert redis.keys("radiata:rate:*") == []


def test_a_limit_is_told_in_the_fields_of_both_drafts() -> None:
    assert headers_of(Standing("uploads", 3, 1, 20, 60)) == {
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "20",
        "RateLimit-Policy": '"uploads";q=3;w=60',
        "RateLimit": '"uploads";r=1;t=20',
    }
