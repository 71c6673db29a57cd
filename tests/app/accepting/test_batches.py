"""A batch is accepted whole, in its order, or not at all; every fault is told with its place."""

from typing import Any

import httpx
import pytest
from redis import Redis

from app.accepting import batches
from app.shared.errors import Unavailable
from app.shared.generations import Ledger
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.conftest import serving

ONE = {"prompt": "a red apple", "seed": 7}


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def post(api: httpx.Client, *requests: dict[str, Any], key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("/v1/generations/batch", json={"requests": requests}, headers=headers)


def test_all_are_accepted_in_order(api: httpx.Client, ledger: Ledger) -> None:
    answer = post(api, *(ONE | {"seed": seed} for seed in range(5)))
    assert answer.status_code == 202, answer.text
    assert [one["request"]["seed"] for one in answer.json()["generations"]] == [*range(5)]
    assert [one["queue_position"] for one in answer.json()["generations"]] == [*range(5)]
    assert {one.id for one in ledger.list(10, None)[0]} == {one["id"] for one in answer.json()["generations"]}


WRONG: list[tuple[dict[int, dict[str, Any]], list[str]]] = [
    ({1: {"steps": 0}}, ["/requests/1/steps"]),
    ({1: {"steps": 9999}, 2: {"width": 4096}}, ["/requests/1/steps", "/requests/2/width"]),
    ({0: {"adapters": [{"ref": "nobody"}]}}, ["/requests/0/adapters/0/ref"]),
    ({2: {"init_image": f"image:{'0' * 64}"}}, ["/requests/2/init_image"]),
    ({2: {"surprise": 1}}, ["/requests/2/surprise"]),
]


def test_one_that_is_wrong_refuses_all(api: httpx.Client, ledger: Ledger) -> None:
    for wrong, places in WRONG:
        answer = post(api, *(ONE | wrong.get(at, {}) for at in range(3)))
        assert answer.status_code in (404, 422), answer.text
        assert [one["pointer"] for one in answer.json()["errors"]] == places
    for count in (0, 101):
        assert post(api, *[ONE] * count).json()["errors"][0]["pointer"] == "/requests"
    assert ledger.list(10, None)[0] == []


def test_a_key_is_that_of_the_whole(api: httpx.Client) -> None:
    first = post(api, ONE, ONE | {"seed": 8}, key="one")
    assert post(api, ONE, ONE | {"seed": 8}, key="one").json() == first.json()
    for other in ([ONE], [ONE, ONE | {"seed": 9}], [ONE, ONE | {"seed": 8}, ONE]):
        assert post(api, *other, key="one").json()["code"] == "idempotency_key_reused"
    assert api.post("/v1/generations", json=ONE, headers={"Idempotency-Key": "one"}).status_code == 202


def test_what_fails_between_two_of_them_leaves_none(
    api: httpx.Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, calls = batches.accept, []

    async def fails(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise Unavailable("queue_full", "there is no more room")
        return await accept(*given)

    monkeypatch.setattr(batches, "accept", fails)
    answer = post(api, *[ONE] * 4)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert [one.status for one in ledger.list(10, None)[0]] == ["canceled", "canceled"]


def test_a_queue_without_room_for_all_takes_none(api: httpx.Client, ledger: Ledger, settings: Settings) -> None:
    with serving(settings.model_copy(update={"max_queued": 2})) as small:
        answer = post(small, *[ONE] * 3)
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert ledger.list(10, None)[0] == []
        assert post(small, *[ONE] * 2).status_code == 202


def test_of_several_priorities_there_is_room_for_all_or_none_is_begun(
    api: httpx.Client, ledger: Ledger, settings: Settings
) -> None:
    urgent, patient = ONE | {"priority": "high"}, ONE | {"priority": "low"}
    with serving(settings.model_copy(update={"max_queued": 3})) as small:
        answer = post(small, patient, urgent, urgent, patient)
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert ledger.list(10, None)[0] == []
        assert post(small, patient, urgent, urgent).status_code == 202


def test_what_a_death_left_out_is_accepted_with_the_same_key(api: httpx.Client, ledger: Ledger) -> None:
    first = post(api, ONE, ONE, key="one").json()["generations"]
    ledger.remove(first[1]["id"])
    again = post(api, ONE, ONE, key="one").json()["generations"]
    assert [one["id"] for one in again] == [one["id"] for one in first]
    assert len(ledger.list(10, None)[0]) == 2
