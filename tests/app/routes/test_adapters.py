"""The door for files: what is refused leaves nothing, neither in storage nor in a temporary folder."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app.shared.catalog import Catalog, file_key
from app.shared.errors import Unavailable
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from tests.app.shared.making import version


def upload(api: httpx.Client, data: bytes = b"bytes", **fields: object) -> httpx.Response:
    return api.post("/v1/adapters", files={"file": ("x", data)}, data={"name": "a"} | fields)  # type: ignore[dict-item]


def test_an_upload_that_nobody_inspects_yet_is_a_202_that_can_be_asked_about(
    api: httpx.Client, storage: Storage, temporary: Path
) -> None:
    answer = upload(api, image_encoder="vit-g")
    assert (answer.status_code, answer.json()["status"]) == (202, "inspecting")
    assert answer.json()["image_encoder"] == "vit-g"
    again = api.get(answer.headers["location"])
    assert (again.status_code, again.json()) == (202, answer.json())
    assert len(list(storage.keys("uploads"))) == 2
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"", {}),
        (b"x", {"name": "../x"}),
        (b"x", {"description": "a\0b"}),
        (b"x", {"description": "x" * 2001}),
        (b"x", {"ignore": ["a\x1b[31m"]}),
        (b"x", {"image_encoder": "../x"}),
    ],
    ids=["empty", "path", "control", "long", "escape", "encoder"],
)
def test_what_is_refused_at_the_door_leaves_nothing(
    api: httpx.Client, storage: Storage, temporary: Path, data: bytes, fields: dict[str, object]
) -> None:
    answer = upload(api, data, **fields)
    assert answer.status_code == 422, answer.text
    assert list(storage.keys("uploads")) == [] and list(temporary.iterdir()) == []


def test_a_storage_that_fails_half_way_leaves_no_upload(
    api: httpx.Client, storage: Storage, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("storage_unavailable", "object storage did not take it")

    monkeypatch.setattr(Uploads, "stage_async", fails)
    answer = upload(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("upload_id", ["0" * 32, "A" * 32, "é" * 32, "..%2f" * 8, "x"])
def test_only_an_id_is_looked_up(api: httpx.Client, upload_id: str) -> None:
    answer = api.get(f"/v1/adapters/uploads/{upload_id}")
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("name", ["sha256", "uploads"])
def test_a_word_that_means_something_else_in_an_address_is_no_name(
    api: httpx.Client, storage: Storage, name: str
) -> None:
    answer = upload(api, name=name)
    assert (answer.status_code, "choose another name" in answer.text) == (422, True), answer.text
    assert list(storage.keys("uploads")) == []


@pytest.mark.parametrize(
    ("start", "ending"), [((19_280).to_bytes(8, "little") + b"{", "safetensors"), (b"PK\x03\x04", "zip")]
)
def test_a_file_is_given_back_as_what_it_is(
    api: httpx.Client, storage: Storage, redis: Redis, start: bytes, ending: str
) -> None:
    one, _ = Catalog(storage, redis).admit(version("a", start), {})
    storage.put(file_key(one.sha256), start)
    answer = api.get("/v1/adapters/a/file")
    assert answer.content == start
    assert answer.headers["content-disposition"] == f'attachment; filename="a.{ending}"'


def test_a_large_file_is_given_back_as_a_stream_of_known_length(
    api: httpx.Client, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 20_000
    one, _ = Catalog(storage, redis).admit(version("a", data), {})
    storage.put(file_key(one.sha256), data)
    really = Storage.get

    def get(self: Storage, key: str) -> bytes | None:
        assert key != file_key(one.sha256), "the whole file was read"
        return really(self, key)

    monkeypatch.setattr(Storage, "get", get)
    with api.stream("GET", "/v1/adapters/a/file") as answer:
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["etag"] == f'"{one.sha256}"'
        pieces = list(answer.iter_raw())
    assert b"".join(pieces) == data and len(pieces) > 1


def test_a_file_that_is_cut_off_on_its_way_is_not_taken_for_whole(
    api: httpx.Client, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    Catalog(storage, redis).admit(version("a"), {})

    def breaks(_self: Storage, _key: str, _start: int, end: int) -> tuple[int, Iterator[bytes]]:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            if end > len(b"half"):
                raise Unavailable("storage_unavailable", "gone in the middle")

        return 8, chunks()

    monkeypatch.setattr(Storage, "stream", breaks)
    with pytest.raises(httpx.RemoteProtocolError):
        api.get("/v1/adapters/a/file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_for_an_upload_is_a_507_with_a_sentence(
    api: httpx.Client, storage: Storage, temporary: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In the folder for temporary files, and in storage; the next one, when there is room again, is taken."""

    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    places = {"app.http.spool.Spooled._take": "TMPDIR", "app.shared.local_store._flush": "storage"}
    for place, said in places.items():
        with monkeypatch.context() as broken:
            broken.setattr(place, full)
            answer = upload(api, b"x" * 3_000_000)
        assert (answer.status_code, answer.json()["code"]) == (507, "no_room"), answer.text
        assert said in answer.json()["detail"] and "free" in answer.json()["detail"]
        assert list(storage.keys("uploads")) == [] and list(temporary.iterdir()) == []
    assert upload(api).status_code == 202
