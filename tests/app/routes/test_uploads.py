"""A large file comes in parts: an unmodified client of tus goes on after a death, at whichever process it finds."""

import asyncio
import base64
import socket
import time
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from app.http import tus
from app.outgoing.assembling import Assembling
from app.shared import resumables
from app.shared.errors import Conflict, NotFound
from app.shared.keys import Keyring
from app.shared.lifecycle import now
from app.shared.profiles import Profiles
from app.shared.resumables import MOST, Resumables, part_key, resumable_key
from app.shared.settings import MIB, Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, bytes_key
from app.shared.wire.resumable import KEPT, Resumable
from app.shared.wire.upload import UploadStatus
from tests.app.conftest import serving
from tests.app.shared.making import profile, upload

DATA = b"".join(bytes([one]) * 1000 for one in range(100))
HEADERS = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(DATA))}
BYTES = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def settings(settings: Settings, elsewhere: str | None) -> Settings:
    return settings.model_copy(update={"storage_url": elsewhere})


@pytest.fixture(autouse=True)
def ready(storage: Storage, settings: Settings) -> None:
    """A model was loaded once."""
    Profiles(storage, settings).publish(profile(), {"unet": {}})


def said(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def begun(client: httpx.Client, kind: str = "adapters", **pairs: str) -> str:
    """The address of a file that has begun."""
    answer = client.post(f"/v1/uploads/{kind}", headers=HEADERS | {"Upload-Metadata": said(**pairs)})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def sent(client: httpx.Client, where: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    return client.patch(where, content=data, headers=HEADERS | BYTES | {"Upload-Offset": str(offset)} | headers)


def test_a_client_of_tus_goes_on_at_another_process_after_the_first_has_died(
    settings: Settings, storage: Storage, redis: Redis
) -> None:
    metadata = {"name": "large", "description": "of tus", "ignore": "a.*\nb", "filename": "l.safetensors"}
    with serving(settings) as first:
        client = TusClient(f"{first.base_url}/v1/uploads/adapters")
        uploader = client.uploader(file_stream=BytesIO(DATA), chunk_size=30_000, metadata=metadata)
        uploader.upload_chunk()
        uploader.upload_chunk()
        path = urlsplit(str(uploader.url)).path
    with serving(settings) as second:
        there = f"{str(second.base_url).rstrip('/')}{path}"
        again = TusClient(there).uploader(file_stream=BytesIO(DATA), chunk_size=30_000, url=there)
        assert again.offset == 60_000
        (unfinished,) = second.get("/v1/uploads").json()["uploads"]
        assert (unfinished["offset"], unfinished["status"], path.endswith(unfinished["id"])) == (60_000, "receiving", 1)
        again.upload()
        assert again.offset == len(DATA)
        until = time.monotonic() + 20
        while (found := second.get(path).json())["status"] == "receiving" and time.monotonic() < until:
            time.sleep(0.05)
        assert (found["status"], found["offset"]) == ("inspecting", len(DATA))
        assert second.head(path).headers["Upload-Offset"] == str(len(DATA))
        assert second.get(found["result"]).status_code == 202
        assert second.get("/v1/uploads").json() == {"uploads": []}
    upload = Uploads(storage, redis, settings).waiting(path[-32:])
    assert upload and storage.get(bytes_key(upload.id)) == DATA and not list(storage.keys("resumable"))
    facts = (upload.name, upload.description, upload.ignore, upload.sha256, upload.size_bytes)
    assert facts == ("large", "of tus", ["a.*", "b"], sha256(DATA).hexdigest(), len(DATA))


def test_what_came_before_a_connection_broke_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tus, "PART", 1000)
    with serving(settings) as client:
        where = begun(client, "datasets")
        lines = [f"PATCH {where} HTTP/1.1", "Host: 127.0.0.1", "Tus-Resumable: 1.0.0", "Upload-Offset: 0"]
        lines += ["Content-Type: application/offset+octet-stream", f"Content-Length: {len(DATA)}", "", ""]
        with socket.create_connection((client.base_url.host, client.base_url.port)) as wire:
            wire.sendall("\r\n".join(lines).encode() + DATA[:2500])
            time.sleep(0.2)
        until = time.monotonic() + 20
        while client.head(where).headers["Upload-Offset"] != "2500" and time.monotonic() < until:
            time.sleep(0.05)
        assert sent(client, where, 2500, DATA[2500:]).headers["Upload-Offset"] == str(len(DATA))


def test_what_is_not_the_protocol_is_refused(settings: Settings, storage: Storage) -> None:
    with serving(settings) as client:
        spoken = client.options("/v1/uploads").headers
        assert spoken["Tus-Version"] == "1.0.0" and "termination" in spoken["Tus-Extension"]
        assert spoken["Tus-Max-Size"] == str(max(settings.max_upload_mb, settings.max_dataset_mb) * MIB)
        where = begun(client, filename="My Style.safetensors")
        assert client.head(where).headers["Upload-Length"] == str(len(DATA))
        for answer, status in (
            (sent(client, where, 1, b"x"), 409),
            (sent(client, where, 0, b"x", **{"Tus-Resumable": "0.2.2"}), 412),
            (sent(client, where, 0, b"x", **{"Content-Type": "text/plain"}), 415),
            (sent(client, where, 0, b"x", **{"Upload-Offset": "-1"}), 422),
            (sent(client, where, 0, DATA + b"x"), 413),
            (sent(client, f"/v1/uploads/{'0' * 32}", 0, b"x"), 404),
        ):
            assert answer.status_code == status, answer.text
            assert (answer.headers["Tus-Resumable"], answer.json()["status"]) == ("1.0.0", status)
        assert client.head(where).headers["Upload-Offset"] == "0"
        for pairs, code in (
            ({"name": "sha256"}, "value_error"),
            ({"name": "a", "colour": "red"}, "extra_forbidden"),
            ({"name": "a", "description": "\x07"}, "value_error"),
            ({}, "missing"),
        ):
            answer = client.post("/v1/uploads/adapters", headers=HEADERS | {"Upload-Metadata": said(**pairs)})
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)
        for metadata in ("name \u00e9", "name YQ==,name YQ==", "name Y", "name /w=="):
            wrong = httpx.Headers(HEADERS | {"Upload-Metadata": metadata}, encoding="latin-1")
            assert client.post("/v1/uploads/adapters", headers=wrong).status_code == 422, metadata
        too_large = {"Upload-Length": str(settings.max_upload_mb * MIB + 1), "Upload-Metadata": said(name="a")}
        assert client.post("/v1/uploads/adapters", headers=HEADERS | too_large).status_code == 413
        assert client.delete(where, headers=HEADERS).status_code == 204
        assert client.get(where).status_code == 404 and not list(storage.keys("resumable"))


def test_a_file_is_its_owners_alone(settings: Settings, storage: Storage) -> None:
    keys = {owner: Keyring(storage).add(["upload"], owner=owner)[1] for owner in ("ada", "bob")}
    with serving(settings) as client:
        client.headers["X-API-Key"] = keys["ada"]
        where = begun(client, name="mine")
        assert client.post("/v1/uploads/datasets", headers=HEADERS).status_code == 403
        client.headers["X-API-Key"] = keys["bob"]
        assert client.get("/v1/uploads").json() == {"uploads": []}
        answers = [client.get(where), sent(client, where, 0, b"x"), client.delete(where, headers=HEADERS)]
        assert [one.status_code for one in answers] == [404] * 3
        with pytest.raises(TusCommunicationError):
            there = f"{str(client.base_url).rstrip('/')}{where}"
            TusClient(there).uploader(file_stream=BytesIO(DATA), url=there)


def test_a_key_reaches_the_files_alone_that_it_may_send(settings: Settings, storage: Storage, redis: Redis) -> None:
    keys = {scope: Keyring(storage).add([scope], owner="ada")[1] for scope in ("upload", "train")}
    with serving(settings) as client:
        where = {}
        for scope, kind, pairs in (("upload", "adapters", {"name": "mine"}), ("train", "datasets", {})):
            client.headers["X-API-Key"] = keys[scope]
            where[scope] = begun(client, kind, **pairs)
        picture = upload("a" * 32).model_copy(update={"kind": "picture", "owner": "ada"})
        Uploads(storage, redis, settings).stage(picture, b"bytes")
        for scope, other in (("upload", "train"), ("train", "upload")):
            client.headers["X-API-Key"] = keys[scope]
            assert [one["id"] for one in client.get("/v1/uploads").json()["uploads"]] == [where[scope][-32:]]
            for path in (where[other], f"/v1/uploads/{picture.id}"):
                answers = [client.get(path), sent(client, path, 0, b"x"), client.delete(path, headers=HEADERS)]
                assert [one.status_code for one in answers] == [404] * 3, (scope, path)
            assert sent(client, where[scope], 0, b"x").status_code == 204


def test_a_file_comes_in_so_many_parts_at_most(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumables, "MOST_PARTS", 2)
    with serving(settings) as client:
        where = begun(client, name="crumbs")
        answers = [sent(client, where, at, b"x") for at in range(3)]
        assert [one.status_code for one in answers] == [204, 204, 422]
        assert answers[-1].json()["code"] == "too_many_parts"
        assert client.delete(where, headers=HEADERS).status_code == 204


class World:
    """Files that came in parts, and what makes uploads of them."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self.storage, self.resumables = storage, Resumables(storage)
        self.uploads = Uploads(storage, redis, settings)
        self.assembling = Assembling(self.resumables, self.uploads)

    def file(self, number: int, *parts: bytes, **facts: Any) -> Resumable:
        plain = {"owner": "", "kind": "adapter", "said": {"name": "a"}, "created_at": now(), "size_bytes": 4}
        one = Resumable.model_validate(plain | {"id": f"{number:032x}"} | facts)
        self.resumables.begin(one)
        for data in parts:
            self.storage.create(part_key(one.id, self.resumables.offset(one.id)), data)
        return one


@pytest.fixture
def world(storage: Storage, redis: Redis, settings: Settings) -> World:
    return World(storage, redis, settings)


def test_whoever_dies_a_file_that_is_whole_becomes_one_upload(world: World) -> None:
    one, half = world.file(1, b"ab", b"cd"), world.file(2, b"ab")
    assert world.assembling.pending() == [one.id]
    for _ in range(2):
        world.assembling.run(one.id, lambda: None)
        world.assembling.run(half.id, lambda: None)
        assert world.storage.get(bytes_key(one.id)) == b"abcd"
        world.file(1, b"ab", b"cd")  # as if it had died before it forgot them
    world.assembling.run(one.id, lambda: None)
    assert [upload.id for upload in world.resumables.unfinished()] == [half.id]


def test_what_is_not_what_it_should_be_is_refused(world: World) -> None:
    other, gap = world.file(1, b"abcd", sha256="0" * 64), world.file(2, b"ab", b"c", b"d")
    world.storage.delete(part_key(gap.id, 2))
    for one, code in ((other, "hash_differs"), (gap, "upload_lost")):
        world.assembling.run(one.id, lambda: None)
        ended = world.uploads.get(one.id)
        assert (ended.status, ended.code) == (UploadStatus.REFUSED, code)
    assert not list(world.storage.keys("resumable"))


def test_what_is_not_whole_after_a_day_is_forgotten_and_what_is_whole_is_not(world: World) -> None:
    long_ago = now() - KEPT - timedelta(seconds=1)
    old, whole = world.file(1, b"ab", created_at=long_ago), world.file(2, b"abcd", created_at=long_ago)
    young = world.file(3, b"ab")
    world.storage.create(part_key("f" * 32, 0), b"of a file that is forgotten")
    assert world.assembling.pending() == [whole.id]
    kept = set(world.storage.keys("resumable"))
    assert all(whole.id in key or young.id in key for key in kept) and len(kept) == 4
    with pytest.raises(NotFound):
        world.resumables.get(old.id)


def test_what_nobody_can_read_is_forgotten_too_but_not_what_newer_code_can(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt, newer = world.file(1, b"ab"), world.file(2, b"ab")
    world.storage.put(resumable_key(spoilt.id), b"")
    world.storage.put(resumable_key(newer.id), b'{"format": 99}')
    for later, left in ((timedelta(), 4), (KEPT + timedelta(hours=1), 2)):
        monkeypatch.setattr(resumables, "now", lambda later=later: now() + later)
        world.resumables.sweep()
        assert len(list(world.storage.keys("resumable"))) == left
    assert world.storage.exists(part_key(newer.id, 0))


def test_of_two_parts_that_begin_at_one_place_one_is_taken(world: World) -> None:
    one = world.file(1)
    asyncio.run(world.resumables.take(one.id, 0, b"ab"))
    with pytest.raises(Conflict):
        asyncio.run(world.resumables.take(one.id, 0, b"xyz"))
    assert world.resumables.offset(one.id) == 2


def test_an_owner_has_so_many_at_most(world: World) -> None:
    for number in range(MOST):
        world.file(number)
    with pytest.raises(Exception, match="files of yours have begun"):
        world.file(MOST)
    assert world.file(MOST, owner="ada")
