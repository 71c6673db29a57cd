"""What is accepted, and what a queue that is away or full does to it."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import pytest
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.generation_keys import image_key, pending_key
from app.shared.generations import Ledger
from app.shared.lifecycle import live_key
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import version

BODY = {"prompt": "a red apple", "seed": 7}
JSON = {"content-type": "application/json"}


def nested(depth: int) -> bytes:
    return b'{"prompt": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": "a", "negative_prompt": "\\ud800"}',
        b'{"prompt": "\\udfff"}',
        b'{"prompt": "a", "\\ud800": 1}',
        b'{"prompt": "a", "sampler": "\\ud800"}',
        b'{"prompt": "a", "model": "\\ud800"}',
        b'{"prompt": "a", "adapters": [{"ref": "a", "strengths": {"\\ud800": 1}}]}',
        b'{"prompt": "a", "seed": 1' + b"0" * 400 + b"}",
        b'{"prompt": "a", "seed": 1' + b"0" * 5000 + b"}",
        b'{"prompt": "a", "adapters": [{"ref": "a", "strength": 1' + b"0" * 400 + b"}]}",
        nested(500),
        nested(100_000),
        '{"prompt": "a"}'.encode("utf-16"),
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
def test_odd_json_is_refused_in_words(api: httpx.Client, storage: Storage, content: bytes) -> None:
    answer = api.post("/v1/generations", content=content, headers=JSON)
    if answer.status_code == 202:  # JSON may be UTF-16: then it was a request
        assert answer.json()["request"]["prompt"] == "a"
        return
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(storage.keys("pending")) == []


@pytest.mark.parametrize("key", [b"\xff\xfe", b"a b", "ä".encode(), b"../../x", b"x" * 255, b"%00"])
def test_an_idempotency_key_may_be_any_bytes(api: httpx.Client, key: bytes) -> None:
    ids = {
        api.post("/v1/generations", json=BODY, headers={b"idempotency-key": key}).json()["id"]  # type: ignore[dict-item]
        for _ in range(2)
    }
    assert len(ids) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_is_neither_empty_nor_endless(api: httpx.Client, key: str) -> None:
    assert api.post("/v1/generations", json=BODY, headers={"idempotency-key": key}).status_code == 422


def test_sixteen_requests_with_one_key_at_once_are_one_generation(api: httpx.Client, storage: Storage) -> None:
    def post(_: int) -> httpx.Response:
        return api.post("/v1/generations", json={"prompt": "a"}, headers={"idempotency-key": "one"})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, range(16)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["request"]["seed"] for answer in answers}) == 1
    assert len(list(storage.keys("pending"))) == 1


def test_the_same_request_written_otherwise_is_the_same(api: httpx.Client, storage: Storage, redis: Redis) -> None:
    Catalog(storage, redis).admit(version("a"), {})
    texts = [
        '{"prompt": "a", "adapters": [{"ref": "a", "strength": 1}], "guidance_scale": 3}',
        '{"guidance_scale": 3.0, "adapters": [{"strengths": {}, "ref": "a"}], "prompt": "a"}',
    ]
    answers = [api.post("/v1/generations", content=text, headers=JSON | {"idempotency-key": "same"}) for text in texts]
    assert answers[0].status_code == 202, answers[0].text
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_what_a_key_was_used_for_does_not_change_with_fields_that_came_later(
    api: httpx.Client, storage: Storage
) -> None:
    answer = api.post("/v1/generations", json=BODY | {"stack_mode": "sum"}, headers={"idempotency-key": "k"})
    kept = json.loads(storage.get(f"pending/{answer.json()['id']}.json") or b"")
    assert kept and kept["fingerprint"] == sha256(json.dumps(BODY, sort_keys=True).encode()).hexdigest()


def test_an_upload_later_changes_nothing_that_was_accepted(api: httpx.Client, storage: Storage, redis: Redis) -> None:
    catalog = Catalog(storage, redis)
    first, _ = catalog.admit(version("a", b"1"), {})
    accepted = api.post("/v1/generations", json=BODY | {"adapters": [{"ref": "a"}]}).json()
    catalog.admit(version("a", b"2"), {})
    catalog.delete("a")
    now = api.get(f"/v1/generations/{accepted['id']}").json()
    assert now["request"] == accepted["request"]
    assert now["request"]["adapters"][0]["sha256"] == first.sha256


def _refused(api: httpx.Client, storage: Storage, code: str) -> None:
    answer = api.post("/v1/generations", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, code), answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert list(storage.keys("pending")) == [], "what was refused is not accepted"


def test_a_full_queue_says_so(
    api: httpx.Client, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.shared.queue.Queues.waiting", lambda *_: settings.max_queued)
    _refused(api, storage, "queue_full")


def test_a_queue_that_is_away_says_so(
    api: httpx.Client, storage: Storage, away: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.shared.queue.Queues.waiting", away)
    _refused(api, storage, "queue_unavailable")


@pytest.fixture
def away() -> Callable[..., None]:
    from redis.exceptions import ConnectionError as RedisConnectionError

    def raises(*_: object) -> None:
        raise RedisConnectionError("gone")

    return raises


@pytest.mark.parametrize("before", ["0" * 32, "1763850000.5", "x", "-1"])
def test_a_cursor_that_is_none_is_refused(api: httpx.Client, before: str) -> None:
    assert api.get("/v1/generations", params={"before": before}).status_code in (404, 422)


def test_problems_are_json_with_safe_headers(api: httpx.Client) -> None:
    answer = api.post("/v1/generations", content=b"{", headers=JSON)
    assert json.loads(answer.content)["code"] == "invalid_request"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_priority_is_no_part_of_what_is_drawn(api: httpx.Client) -> None:
    plain = api.post("/v1/generations", json=BODY).json()
    low = api.post("/v1/generations", json=BODY | {"priority": "low"}).json()
    assert (plain["priority"], low["priority"]) == ("normal", "low")
    assert plain["request"] == low["request"] and "priority" not in low["request"]
    assert api.post("/v1/generations", json=BODY | {"priority": "urgent"}).status_code == 422


def test_names_are_compared_with_once_a_request(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Catalog, "names", lambda _, most: asked.append(most) or ["fluent"])
    answer = api.post("/v1/generations", json={"prompt": "x", "adapters": [{"ref": f"fluen{n}"} for n in range(9)]})
    assert (answer.status_code, len(answer.json()["errors"])) == (404, 9), answer.text
    assert len(asked) == 1 and all("fluent" in one["message"] for one in answer.json()["errors"])


def test_cancel_stops_what_waits_and_deletes_nothing(api: httpx.Client, storage: Storage) -> None:
    path = f"/v1/generations/{api.post('/v1/generations', json=BODY).json()['id']}"
    for _ in range(2):
        answer = api.post(f"{path}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert api.get(path).json() == answer.json()
    assert api.post(f"/v1/generations/{'0' * 32}/cancel").status_code == 404


def test_of_one_that_has_ended_a_cancel_says_how(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings
) -> None:
    path = f"/v1/generations/{api.post('/v1/generations', json=BODY).json()['id']}"
    ledger = Ledger(storage, redis, settings)
    ledger.fail(ledger.get(path.rpartition("/")[2]), "engine_error", "a bug")
    answer = api.post(f"{path}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")
    assert answer.json()["generation"] == api.get(path).json()


def test_delete_cancels_what_lives_and_deletes_what_has_ended(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings
) -> None:
    kept, path = (f"/v1/generations/{api.post('/v1/generations', json=BODY).json()['id']}" for _ in range(2))
    answer = api.delete(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    storage.put(image_key(path.rpartition("/")[2], 0), b"\x89PNG")
    assert (api.delete(path).status_code, api.delete(path).status_code) == (204, 410)
    for emptied in (False, True):
        if emptied:
            redis.flushdb()
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
            answer = api.request(method, path + tail)
            assert (answer.status_code, answer.json()["code"]) == (410, "generation_deleted"), (method, tail)
        assert api.patch(path, json={"starred": True}).status_code == 410
        picture = api.get(f"/v1/images{path.removeprefix('/v1/generations')}/0.png")
        assert (picture.status_code, picture.json()["code"]) == (410, "generation_deleted")
        assert [one["id"] for one in api.get("/v1/generations").json()["generations"]] == [kept.rpartition("/")[2]]


def test_a_key_of_what_was_deleted_is_told_so(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    path = f"/v1/generations/{api.post('/v1/generations', json=BODY, headers=headers).json()['id']}"
    assert [api.delete(path).status_code for _ in range(2)] == [200, 204]
    answer = api.post("/v1/generations", json=BODY, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (410, "generation_deleted")


def test_a_star_stands_wherever_the_generation_is_told(api: httpx.Client, redis: Redis) -> None:
    one, other = (api.post("/v1/generations", json=BODY).json() for _ in range(2))
    path = f"/v1/generations/{one['id']}"
    assert one["starred"] is False
    for starred in (True, True, False, True):
        assert api.patch(path, json={"starred": starred}).json()["starred"] is starred
        for emptied in (False, True):
            if emptied:
                redis.flushdb()
            assert api.get(path).json()["starred"] is starred
            listed = {row["id"]: row["starred"] for row in api.get("/v1/generations").json()["generations"]}
            assert listed == {one["id"]: starred, other["id"]: False}
    assert api.post(f"{path}/cancel").json()["starred"] is True
    for body in ({"starred": "yes"}, {"starred": None}, {}, {"starred": True, "prompt": "x"}):
        assert api.patch(path, json=body).status_code == 422
    assert api.patch(f"/v1/generations/{'0' * 32}", json={"starred": True}).status_code == 404


def test_a_record_that_cannot_be_read_is_not_canceled_away(api: httpx.Client, storage: Storage, redis: Redis) -> None:
    generation_id = api.post("/v1/generations", json=BODY).json()["id"]
    storage.put(pending_key(generation_id), b"{")
    redis.delete(live_key(generation_id))
    assert api.post(f"/v1/generations/{generation_id}/cancel").status_code == 502
    assert storage.exists(pending_key(generation_id))
