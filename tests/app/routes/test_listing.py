"""What a list is asked for: obeyed, or refused by name."""

import time
from threading import Event
from typing import Any

import httpx
import pytest
from redis import Redis

from app.shared import following
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.segments import Segments
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.key import SCOPES
from tests.app.conftest import serving
from tests.app.shared.making import profile

BODIES: list[dict[str, Any]] = [
    {"prompt": "a red apple", "seed": 1, "metadata": {"project": "a=b", "shot": "1"}},
    {"prompt": "a blue Äpple", "seed": 2, "metadata": {"project": "a=b"}},
    {"prompt": "a red house", "seed": 2},
]


def found(api: httpx.Client, query: str, **headers: str) -> list[str]:
    answer = api.get(f"/v1/generations?{query}", headers=headers).raise_for_status().json()
    return [one["request"]["prompt"].split()[-1] for one in answer["generations"]]


def test_every_filter_is_obeyed(api: httpx.Client) -> None:
    made = [api.post("/v1/generations", json=body).raise_for_status().json() for body in BODIES]
    api.post(f"/v1/generations/{made[0]['id']}/cancel").raise_for_status()
    api.patch(f"/v1/generations/{made[1]['id']}", json={"starred": True}).raise_for_status()
    times = {number: one["created_at"].replace("+", "%2B") for number, one in enumerate(made)}
    asked = {
        "": ["house", "Äpple", "apple"],
        "status=queued": ["house", "Äpple"],
        "status=canceled&q=Red": ["apple"],
        "status=failed": [],
        "model=emoji-64&seed=2": ["house", "Äpple"],
        "model=none": [],
        "adapter=none:2": [],
        "starred=true": ["Äpple"],
        "starred=false&limit=1": ["house"],
        "q=apple": ["Äpple", "apple"],
        "q=appl": [],
        "q=apple%20RED": ["apple"],
        "metadata=project%3Da%3Db": ["Äpple", "apple"],
        "metadata=project%3Da%3Db&metadata=shot%3D1": ["apple"],
        "metadata=project%3Db": [],
        f"since={times[1]}": ["house", "Äpple"],
        f"until={times[1]}": ["apple"],
        "since=9999-12-31T23:59:59Z": [],
        "until=9999-12-31T23:59:59Z&since=0001-01-01T00:00:00Z": ["house", "Äpple", "apple"],
        f"before={made[2]['id']}&q=a": ["Äpple", "apple"],
    }
    assert {query: found(api, query) for query in asked} == asked


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("status=done", "status"),
        ("model=A", "model"),
        ("adapter=a:0", "adapter"),
        ("starred=yes", "starred"),
        ("q=!%3F", "q"),
        ("q=", "q"),
        ("seed=-1", "seed"),
        ("since=1763850000", "since"),
        ("since=2026-11-26", "since"),
        ("until=2026-13-26T00:00:00Z", "until"),
        ("until=2026-11-26T00:00:00", "until"),
        ("metadata=project", "metadata/0"),
        ("metadata=project=a&metadata=project=b", "metadata/1"),
        ("owner=A", "owner"),
        (f"ids={'a' * 32},", "ids"),
        (f"ids={','.join(['a' * 32] * 101)}", "ids"),
        (f"ids={'a' * 32}&q=red", "q"),
        ("starred=true&starred=true", "starred"),
    ],
)
def test_what_is_no_filter_is_refused_by_name(api: httpx.Client, query: str, place: str) -> None:
    answer = api.get(f"/v1/generations?{query}")
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == [f"/query/{place}"]


def test_another_owner_is_looked_at_with_the_scope_admin_alone(settings: Settings, storage: Storage) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    ring = Keyring(storage)
    admin, ada = ring.add(SCOPES)[1], ring.add(("draw",), owner="ada")[1]
    with serving(settings) as api:
        api.post("/v1/generations", json=BODIES[0], headers={"X-API-Key": ada}).raise_for_status()
        assert found(api, "", **{"X-API-Key": admin}) == []
        assert found(api, "owner=ada&q=red", **{"X-API-Key": admin}) == ["apple"]
        assert found(api, "owner=ada", **{"X-API-Key": ada}) == ["apple"]
        for other in ("first", "bob"):
            answer = api.get(f"/v1/generations?owner={other}", headers={"X-API-Key": ada})
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


def test_just_these_are_listed_in_their_order(settings: Settings, storage: Storage, redis: Redis) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    ring = Keyring(storage)
    admin, ada = ({"X-API-Key": ring.add(SCOPES, owner=owner)[1]} for owner in ("", "ada"))
    with serving(settings) as api:
        made = [api.post("/v1/generations", json=BODIES[n % 3], headers=ada).json()["id"] for n in range(100)]
        mine = api.post("/v1/generations", json=BODIES[0], headers=admin).json()["id"]
        for method in ("POST", "DELETE"):
            api.request(method, f"/v1/generations/{made[7]}{'/cancel' * (method == 'POST')}", headers=ada)

        def those(ids: list[str], query: str = "", **headers: str) -> list[str]:
            answer = api.get(f"/v1/generations?ids={','.join(ids)}{query}", headers=headers).raise_for_status().json()
            assert answer["next"] is None
            return [one["id"] for one in answer["generations"]]

        for _ in range(2):
            asked = [made[3], "0" * 32, made[1], mine, made[3], made[7]]
            assert those(asked, **ada) == [made[3], made[1]]
            assert those(asked, "&owner=ada", **admin) == [made[3], made[1]]
            assert those(asked, **admin) == [mine]
            assert those(made, **ada) == [one for one in made if one != made[7]]
            redis.flushall()


def test_a_list_that_needs_more_than_is_made_says_how_much_is(
    settings: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FEW", 0), ("PATIENCE_S", 0.1), ("AT_ONCE", 1)):
        monkeypatch.setattr(following, name, value)
    go_on, read = Event(), Segments.text
    for day in (1, 2):
        storage.put(f"index/2026-01-0{day}-1.jsonl", b"")
    storage.put("unindexed/adopted", b"1")
    monkeypatch.setattr(
        Segments, "text", lambda self, name: read(self, name) if "01-02" in name or go_on.wait(30) else b""
    )
    with serving(settings) as api:
        while (part := api.get("/readyz").json()["index"]) < 0.5:
            time.sleep(0.05)
        assert part == 0.5 and "radiata_index_made 0.5" in api.get("/metrics").text
        answer = api.get("/v1/generations")
        assert (answer.status_code, answer.json()["code"]) == (503, "index_building")
        assert "1 of 2 segments are in it, 50%" in answer.json()["detail"]
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        go_on.set()
        while api.get("/v1/generations").status_code == 503:
            time.sleep(0.05)
        assert api.get("/readyz").json()["index"] == 1
