"""One record of storage that cannot be read spoils nothing but itself, on every route."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis import Redis

from app.shared.catalog import Catalog, file_key
from app.shared.generation_keys import image_key, manifest_key, pending_key
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.uploads import Uploads, record_key
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.generation import Generation, Status
from tests.app.shared.making import MODEL, profile, request, upload, version

OTHER = "another"  # a second base model
Read = Callable[[], dict[str, tuple[int, str]]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two models, and profiles that are read anew each time."""
    return settings.model_copy(update={"models": {MODEL: "bundled:emoji-64", OTHER: "/folder"}})


@pytest.fixture
def api(api: httpx.Client, settings: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    monkeypatch.setattr("app.shared.profiles.KEEP_S", 0.0)
    Profiles(storage, settings).publish(profile(name=OTHER), {"unet": {}})
    return api


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def generations(ledger: Ledger) -> list[Generation]:
    """One that waits, one that has succeeded, and one that waits and is touched by nobody."""
    waits, ended, untouched = (ledger.accept(request(seed=seed)) for seed in range(3))
    ledger.finish(ended.model_copy(update={"status": Status.SUCCEEDED}))
    return [waits, ended, untouched]


@pytest.fixture
def catalog(storage: Storage, redis: Redis) -> Catalog:
    """`a` in two versions, `b`, and `gone`, which was deleted."""
    catalog = Catalog(storage, redis)
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"3"), ("gone", b"4")):
        one = version(name, content)
        storage.put(file_key(one.sha256), content)
        catalog.admit(one, {MODEL: {"components": {}}})
    catalog.delete("gone")
    return catalog


@pytest.fixture
def records(
    generations: list[Generation], catalog: Catalog, storage: Storage, redis: Redis, settings: Settings, tmp_path: Path
) -> dict[str, str]:
    """Every kind of record by key, with the route that it alone decides."""
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    Uploads(storage, redis, settings).stage(upload(), file)
    first = version("a", b"1").sha256
    return {
        pending_key(generations[0].id): f"/v1/generations/{generations[0].id}",
        manifest_key(generations[1].id): f"/v1/generations/{generations[1].id}",
        "names/a/1.json": "/v1/adapters/a:1",
        "names/a/2.json": "/v1/adapters/a",
        "names/gone/deleted.json": "/v1/adapters/gone",
        f"adapters/{first}.json": "/v1/adapters/a:1",
        record_key(upload().id): f"/v1/adapters/uploads/{upload().id}",
        f"models/{OTHER}.json": "/v1/models",
        f"models/{OTHER}.shapes.json": "/v1/models",
    }


@pytest.fixture
def spoil(settings: Settings) -> Callable[[str, bytes], None]:
    """What writes over a record, past the store."""

    def write(key: str, data: bytes) -> None:
        (settings.data_dir / "store" / key).write_bytes(data)

    return write


def ask(api: httpx.Client, method: str, path: str, **more: object) -> tuple[int, str]:
    """Status and code of an answer."""
    answer = api.request(method, path, **more)  # type: ignore[arg-type]
    return answer.status_code, answer.json().get("code", "") if answer.content else ""


def draw(api: httpx.Client, **fields: object) -> tuple[int, str]:
    return ask(api, "POST", "/v1/generations", json={"prompt": "a", "steps": 1, "model": MODEL} | fields)


def everything_else(api: httpx.Client, spoilt: str, generations: list[Generation]) -> None:
    """Ask for all that the spoilt record has no part in."""
    untouched = generations[2].id
    assert api.get(f"/v1/generations/{untouched}").json()["id"] == untouched
    listed = [one["id"] for one in api.get("/v1/generations?limit=200").json()["generations"]]
    for one in generations:
        assert one.id in listed or one.id in spoilt
    names = [one["name"] for one in api.get("/v1/adapters").json()["adapters"]]
    assert "b" in names and ("a" in names or spoilt.startswith("names/a/"))
    assert ask(api, "GET", "/v1/adapters/b") == (200, "")
    assert draw(api, adapters=[{"ref": "b"}]) == (202, "")
    assert MODEL in {one["name"] for one in api.get("/v1/models").json()["models"]}


@given(data=st.data())
@hypothesis_settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_route_fails_for_a_record_of_another(
    data: st.DataObject,
    api: httpx.Client,
    records: dict[str, str],
    generations: list[Generation],
    storage: Storage,
    redis: Redis,
    settings: Settings,
    spoil: Callable[[str, bytes], None],
) -> None:
    key = data.draw(st.sampled_from(sorted(records)))
    before = storage.get(key)
    assert before is not None
    cut = before[: data.draw(st.integers(0, len(before)))]
    at, byte = data.draw(st.integers(0, len(before) - 1)), data.draw(st.binary(min_size=1, max_size=3))
    flipped = before[:at] + byte + before[at + 1 :]
    spoilt = data.draw(st.sampled_from([b"", cut, flipped, b"[]", b"\xff", before[::-1]]))
    spoil(key, spoilt)
    redis.flushall()
    try:
        everything_else(api, key, generations)
        status, code = ask(api, "GET", records[key])
        assert status < 500 or (status, code) == (502, "record_unreadable")
        Sweep(storage, redis, settings).run()
        Uploads(storage, redis, settings).sweep()
        everything_else(api, key, generations)
    finally:
        spoil(key, before)


@pytest.mark.parametrize("number", [0, 1])
def test_a_generation_whose_record_is_empty_says_so_and_can_be_cleared_away(
    api: httpx.Client,
    generations: list[Generation],
    storage: Storage,
    redis: Redis,
    spoil: Callable[[str, bytes], None],
    number: int,
) -> None:
    generation_id = generations[number].id
    storage.put(image_key(generation_id, 0), b"png")
    spoil(pending_key(generation_id) if number == 0 else manifest_key(generation_id), b"")
    redis.flushall()
    path = f"/v1/generations/{generation_id}"
    assert ask(api, "GET", path) == (502, "record_unreadable")
    assert f"DELETE {path}" in api.get(path).json()["detail"]
    assert ask(api, "DELETE", path) == (204, "")
    assert ask(api, "GET", path) == (404, "generation_unknown")
    assert generation_id not in " ".join(storage.keys("generations")) + " ".join(storage.keys("pending"))


@pytest.mark.parametrize("number", [0, 1])
def test_what_redis_still_has_is_restored(
    ledger: Ledger,
    generations: list[Generation],
    storage: Storage,
    spoil: Callable[[str, bytes], None],
    number: int,
) -> None:
    """Law 4: a record that was cut off is no lost work as long as one copy is left."""
    generation_id = generations[number].id
    key = pending_key(generation_id) if number == 0 else manifest_key(generation_id)
    before = storage.get(key)
    spoil(key, b"")
    if number == 0:
        assert ledger.start(generation_id) is not None
    else:
        end = ledger.end(generation_id)
        assert end is not None and end.status is Status.SUCCEEDED
    assert storage.get(key) == before


def test_a_generation_that_cannot_be_read_is_told_once_and_not_queued(
    ledger: Ledger,
    generations: list[Generation],
    storage: Storage,
    redis: Redis,
    settings: Settings,
    spoil: Callable[[str, bytes], None],
    told: list[str],
) -> None:
    spoil(pending_key(generations[0].id), b"{")
    redis.flushall()
    for _ in range(3):
        Sweep(storage, redis, settings).run()
    assert ledger.start(generations[0].id) is None
    assert told == [pending_key(generations[0].id)]
    assert ledger.queues.job(generations[0].id) is None
    assert ledger.queues.job(generations[2].id) is not None


def test_an_idempotency_key_that_meets_such_a_record_is_a_clear_error(
    api: httpx.Client, redis: Redis, storage: Storage, spoil: Callable[[str, bytes], None]
) -> None:
    def again() -> httpx.Response:
        body = {"prompt": "a", "steps": 1, "model": MODEL}
        return api.post("/v1/generations", json=body, headers={"Idempotency-Key": "one"})

    generation_id = again().json()["id"]
    spoil(pending_key(generation_id), b"")
    redis.flushall()
    answer = again()
    assert (answer.status_code, answer.json()["code"]) == (502, "record_unreadable")
    assert ask(api, "DELETE", f"/v1/generations/{generation_id}") == (204, "")
    assert again().json()["id"] == generation_id


@pytest.mark.parametrize("key", ["names/a/1.json", "names/a/2.json"])
def test_a_version_that_cannot_be_read_is_never_replaced_by_another_in_silence(
    api: httpx.Client, catalog: Catalog, redis: Redis, spoil: Callable[[str, bytes], None], key: str
) -> None:
    spoil(key, b"")
    redis.flushall()
    bad, good = ("a:1", "a:2") if key.endswith("1.json") else ("a:2", "a:1")
    assert draw(api, adapters=[{"ref": bad}]) == (502, "record_unreadable")
    assert draw(api, adapters=[{"ref": good}]) == (202, "")
    assert draw(api, adapters=[{"ref": "a"}]) == ((202, "") if bad == "a:1" else (502, "record_unreadable"))
    again, new = catalog.admit(version("a", b"again"), {})
    assert (again.version, new) == (3, True)
    assert draw(api, adapters=[{"ref": "a"}]) == (202, "")


def test_a_name_of_which_nothing_can_be_read_can_be_deleted_and_taken_again(
    api: httpx.Client, catalog: Catalog, storage: Storage, redis: Redis, spoil: Callable[[str, bytes], None]
) -> None:
    for key in ("names/a/1.json", "names/a/2.json"):
        spoil(key, b"")
    redis.flushall()
    assert ask(api, "DELETE", "/v1/adapters/a") == (204, "")
    assert ask(api, "GET", "/v1/adapters/a") == (410, "adapter_deleted")
    assert list(storage.keys("names/a")) == ["names/a/deleted.json"]
    assert catalog.admit(version("a", b"1"), {})[0].version == 3


def test_a_tombstone_that_cannot_be_read_holds_its_name_until_that_is_deleted_again(
    api: httpx.Client, catalog: Catalog, redis: Redis, spoil: Callable[[str, bytes], None]
) -> None:
    """Which versions it ended is not known: no number that anybody had is given again, no dead version comes back."""
    spoil("names/gone/deleted.json", b"")
    redis.flushall()
    assert ask(api, "GET", "/v1/adapters/gone") == (502, "record_unreadable")
    assert ask(api, "DELETE", "/v1/adapters/gone") == (204, "")
    assert ask(api, "GET", "/v1/adapters/gone") == (410, "adapter_deleted")
    taken: AdapterVersion = catalog.admit(version("gone", b"5"), {})[0]
    assert taken.version > 1_000_000
    assert ask(api, "GET", f"/v1/adapters/gone:{taken.version}") == (200, "")


def test_a_profile_that_cannot_be_read_is_written_anew_by_its_worker(
    api: httpx.Client, storage: Storage, settings: Settings, spoil: Callable[[str, bytes], None]
) -> None:
    for key in (f"models/{OTHER}.json", f"models/{OTHER}.shapes.json"):
        spoil(key, b"")
    assert draw(api, model=OTHER) == (502, "record_unreadable")
    assert draw(api) == (202, "")
    assert OTHER in api.get("/v1/models").json()["not_ready"]
    assert Profiles(storage, settings).publish(profile(name=OTHER), {"unet": {}})
    assert draw(api, model=OTHER) == (202, "")
    assert Profiles(storage, settings).shapes(OTHER) == {"unet": {}}
