"""`Prefer: wait=N`: the end of a generation in the answer to its own request, or a 202 as without."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis

from app.http import waiting
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from app.shared.wire.key import SCOPES
from tests.app.conftest import serving
from tests.app.shared.making import profile

BODY = {"prompt": "a red apple", "seed": 7}


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("wait", 0),
        ("wait=x", 0),
        ("wait=-1", 0),
        ("respond-async", 0),
        ("wait=10", 10),
        ("Wait = 10", 10),
        ('respond-async, wait="7"', 7),
        ("wait=99999", waiting.MOST_S),
    ],
)
def test_seconds_are_read_as_rfc_7240_writes_them(prefer: str | None, seconds: int) -> None:
    assert waiting.wait_of(prefer) == seconds


def post(api: httpx.Client, wait: str | None, **headers: str) -> httpx.Response:
    prefer = {"Prefer": wait} if wait else {}
    return api.post("/v1/generations", json=BODY, headers={**prefer, **headers})


def test_whoever_waits_is_told_the_end(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> None:
    ledger = Ledger(storage, redis, settings)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, api, "wait=15", **{"Idempotency-Key": "one"})
        until = time.monotonic() + 10
        while not (found := ledger.list(1, None)[0]):
            assert time.monotonic() < until
        assert not answer.done()
        ledger.finish(found[0].model_copy(update={"status": Status.SUCCEEDED}))
        ended = answer.result(10)
    assert (ended.status_code, ended.headers["Preference-Applied"]) == (201, "wait=15")
    assert ended.json()["status"] == "succeeded" and ended.headers["Location"].endswith(ended.json()["id"])
    again = post(api, "wait=15", **{"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["id"]) == (200, ended.json()["id"])


def test_a_wait_that_runs_out_is_a_202_that_says_so(api: httpx.Client) -> None:
    answer = post(api, "wait=1")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert "Preference-Applied" not in post(api, None).headers


def test_where_too_many_wait_one_more_is_answered_at_once(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 0)
    answer = post(api, "wait=60")
    assert answer.status_code == 202 and "Preference-Applied" not in answer.headers


def test_one_owner_leaves_room_for_others_to_wait(
    settings: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_OF_ONE", 1)
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    ada, bob = (Keyring(storage).add(SCOPES, owner=owner)[1] for owner in ("ada", "bob"))
    with serving(settings) as api, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, api, "wait=3", **{"X-API-Key": ada})
        time.sleep(0.5)
        assert "Preference-Applied" not in post(api, "wait=60", **{"X-API-Key": ada}).headers
        assert "Preference-Applied" in post(api, "wait=1", **{"X-API-Key": bob}).headers
        assert "Preference-Applied" in first.result(10).headers


def test_a_client_that_goes_cancels_nothing(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v1/generations", json=BODY, headers={"Prefer": "wait=60"}, timeout=1)
    (left,) = Ledger(storage, redis, settings).list(10, None)[0]
    assert left.status is Status.QUEUED
