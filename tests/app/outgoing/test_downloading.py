"""A download lives as long as what was accepted does: killed anywhere it goes on, and becomes an upload once."""

import os
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from redis import Redis

from app.deps import sources_of
from app.outgoing.courier import Courier
from app.outgoing.downloading import Downloading
from app.shared.downloads import KIND, MOST, Downloads
from app.shared.errors import NoRoom, Unavailable
from app.shared.fetching.sources import Sources
from app.shared.lifecycle import now
from app.shared.outgoing import Outgoing, due_key
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, bytes_key
from app.shared.wire.upload import Download, Upload, UploadStatus
from tests.app.conftest import serving
from tests.app.shared.fetching.hub import BODY, SHA256, TOKEN, Hub
from tests.app.shared.making import profile

ID = "ab" * 16


@pytest.fixture
def hub() -> Iterator[Hub]:
    one = Hub()
    with one.server.serving():
        yield one


@pytest.fixture
def settings(settings: Settings, hub: Hub) -> Settings:
    """Settings that know the hub, and a token for it."""
    told = {"hub_url": hub.url, "civitai_url": hub.url, "hub_token": TOKEN, "fetch_allow": "127.0.0.1,localhost"}
    return Settings(**settings.model_dump(exclude_unset=True) | {"redis_url": settings.redis_url} | told)  # type: ignore[arg-type]


class Process:
    """What one process of the API has, without its routes."""

    def __init__(self, settings: Settings, redis: Redis, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.storage = Storage(settings.store_url)
        self.outgoing = Outgoing(redis, clock)
        self.uploads = Uploads(self.storage, redis, settings)
        self.downloads = Downloads(self.storage, redis, self.uploads, self.outgoing)
        self.sources: Sources = sources_of(settings)
        handler = Downloading(self.downloads, self.uploads, self.sources, settings)
        self.courier = Courier(self.outgoing, {KIND: handler})
        self.settings = settings
        self.folder = settings.data_dir / "fetching"

    def begin(self, source: str, sha256: str | None = None, **said: Any) -> None:
        facts = {"kind": "adapter", "name": "one", "created_at": now()} | said
        upload = Upload(id=ID, status=UploadStatus.FETCHING, source=source, sha256="", size_bytes=0, **facts)
        self.downloads.begin(Download(upload=upload, source=source, sha256=sha256))

    def look(self) -> None:
        """Do what is due."""
        self.courier.look(self.courier.do)

    @property
    def left(self) -> list[str]:
        return [one.name for one in self.folder.iterdir()]


@pytest.fixture
def process(settings: Settings, redis: Redis) -> Process:
    return Process(settings, redis)


def test_a_download_becomes_an_upload_of_the_same_id(process: Process, redis: Redis) -> None:
    process.begin("hf:owner/one")
    assert process.downloads.get(ID).status is UploadStatus.FETCHING
    process.look()
    upload = process.downloads.get(ID)
    assert (upload.status, upload.sha256, upload.size_bytes) == (UploadStatus.INSPECTING, SHA256, len(BODY))
    assert process.storage.get(bytes_key(ID)) == BODY
    assert process.uploads.queues.job(ID), "intake judges it"
    assert not process.left and not redis.exists(due_key(KIND)) and not list(process.downloads.pending())


def test_what_broke_off_goes_on_in_another_process(settings: Settings, redis: Redis, hub: Hub) -> None:
    times = iter(range(0, 100_000, 1000))
    hub.breaks = [5000, 7000]
    Process(settings, redis).begin("hf:owner/one")
    for _ in range(2):
        process = Process(settings, redis, lambda: next(times))
        process.look()
        assert process.downloads.get(ID).status is UploadStatus.FETCHING
    assert process.downloads.get(ID).fetched_bytes > 5000
    redis.flushall()  # nor is anything lost with what Redis had
    Process(settings, redis, lambda: next(times)).look()
    assert process.downloads.get(ID).sha256 == SHA256
    assert hub.sent == len(BODY), "no byte came twice"
    assert sum(b"/revision/" in one for one in hub.server.asked) == 1, "its commit was found once"


def test_who_dies_after_the_upload_was_made_makes_no_second(process: Process, hub: Hub) -> None:
    process.begin("hf:owner/one")
    waiting = process.downloads.waiting(ID)
    process.look()
    asked = len(hub.server.asked)
    assert waiting
    process.downloads.update(waiting)
    process.outgoing.put(f"{KIND}:{ID}")
    process.look()
    assert len(hub.server.asked) == asked and process.downloads.waiting(ID) is None


def test_one_process_alone_fetches_a_file(settings: Settings, redis: Redis) -> None:
    first, second = Process(settings, redis), Process(settings, redis)
    first.begin("hf:owner/one")
    taken: list[str] = []
    first.courier.look(taken.append)
    second.courier.look(taken.append)
    first.courier.look(taken.append)
    assert taken == [f"{KIND}:{ID}"]


WRONG = {
    "another hash than the hub's": ("hf:owner/one", "0" * 64, "hash_differs"),
    "another hash than comes": ("{}/api/download/models/1", "0" * 64, "hash_differs"),
    "several": ("hf:owner/several", None, "source_has_several_files"),
    "an inside": ("https://10.0.0.1/a", None, "address_refused"),
    "a file that is not there": ("{}/nothing", None, "source_not_found"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_can_never_be_fetched_ends_as_a_refused_upload(process: Process, hub: Hub, wrong: str) -> None:
    source, sha256, code = WRONG[wrong]
    process.begin(source.format(hub.url), sha256)
    process.look()
    upload = process.downloads.get(ID)
    assert (upload.status, upload.code) == (UploadStatus.REFUSED, code)
    assert upload.message and TOKEN not in upload.model_dump_json()
    assert not process.left and not list(process.downloads.pending())


def test_a_host_that_is_away_for_a_day_is_given_up(process: Process) -> None:
    process.begin("https://no.such.host.invalid/a", created_at=now().replace(year=now().year - 1))
    process.look()
    assert process.downloads.get(ID).code == "source_away"


FAILURES = {
    "full storage": (NoRoom("no_room", "storage is full, for a test"), 0, "no_room"),
    "full disk": (OSError(28, "no space left"), 0, "no_room"),
    "a bug": (ZeroDivisionError("for a test"), 0, None),
    "a bug for a day": (ZeroDivisionError("for a test"), 1, "fetch_failed"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_nothing_is_tried_for_ever(process: Process, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    error, years, code = FAILURES[failure]

    def stage(*_: object) -> None:
        raise error

    monkeypatch.setattr(process.uploads, "stage", stage)
    process.begin("hf:owner/one", created_at=now().replace(year=now().year - years))
    process.look()
    assert process.downloads.get(ID).code == code
    assert (process.downloads.waiting(ID) is None) == (code is not None)


def test_one_owner_may_have_so_many_and_leaves_the_others_theirs(process: Process) -> None:
    source, plain = "hf:owner/one", {"kind": "adapter", "name": "one", "sha256": "", "size_bytes": 0}
    many = [
        Upload(id=f"{at:032x}", status=UploadStatus.FETCHING, created_at=now(), owner=owner, **plain)  # type: ignore[arg-type]
        for at, owner in enumerate(["ada"] * (MOST + 1) + ["", "bob"])
    ]
    for one in many[:MOST]:
        process.downloads.begin(Download(upload=one, source=source))
    with pytest.raises(Unavailable):
        process.downloads.begin(Download(upload=many[MOST], source=source))
    for one in many[MOST + 1 :]:
        process.downloads.begin(Download(upload=one, source=source))
    process.downloads.over(many[0].id)
    process.downloads.begin(Download(upload=many[MOST], source=source))


def test_a_download_is_canceled_before_and_while_it_comes(process: Process) -> None:
    process.begin("hf:owner/one")
    assert process.downloads.cancel(ID).status is UploadStatus.CANCELED
    process.look()
    assert process.downloads.get(ID).status is UploadStatus.CANCELED
    assert not process.storage.exists(bytes_key(ID)) and not process.left


def test_pefts_file_comes_as_a_zip_with_its_configuration(process: Process) -> None:
    process.begin("hf:owner/peft")
    process.look()
    data = process.storage.get(bytes_key(ID))
    assert data and zipfile.ZipFile(BytesIO(data)).namelist() == ["adapter_config.json", "adapter_model.safetensors"]


def test_parts_that_nobody_waits_for_are_deleted(process: Process) -> None:
    process.begin("hf:owner/one")
    process.folder.mkdir()
    for name in (ID, "cd" * 16, "ef" * 16):
        (process.folder / name).write_bytes(b"part")
    for name in (ID, "cd" * 16):
        os.utime(process.folder / name, (0, 0))
    assert list(Downloading(process.downloads, process.uploads, process.sources, process.settings).pending()) == [ID]
    assert sorted(process.left) == [ID, "ef" * 16]


def test_what_stands_in_redis_is_data(process: Process, redis: Redis) -> None:
    redis.zadd(due_key(KIND), {b"download:../../etc": 0, b"shell:" + ID.encode(): 0, b"\xff": 0})
    process.look()
    assert not redis.exists(due_key(KIND))


def test_over_http(settings: Settings, storage: Storage, hub: Hub) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings) as api:
        answer = api.post("/v1/adapters", json={"source": "hf:owner/one", "name": "one"})
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "fetching"
        seen = until(api, answer.headers["Location"], "inspecting")
        assert (seen["sha256"], seen["source"]) == (SHA256, "hf:owner/one")
        begun = api.post("/v1/datasets", json={"source": "hf:owner/pictures"})
        assert (begun.status_code, begun.json()["ref"]) == (202, None)
        assert until(api, begun.headers["Location"], "inspecting")["ref"].startswith("dataset:")
        for body, code in (
            ({"source": "hf:owner/one"}, "missing"),
            ({"source": "http://10.0.0.1/", "name": "one"}, "address_refused"),
            ({"source": "ftp://x.org/", "name": "one"}, "source_not_understood"),
            ({"source": "hf:owner/one", "name": "one", "token": "x"}, "extra_forbidden"),
        ):
            refused = api.post("/v1/adapters", json=body)
            assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)
        unknown = api.get("/v1/adapters/uploads/%0A")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "upload_unknown")
        assert api.post("/v1/adapters", content=b"x").status_code == 415
        assert api.put("/v1/adapters").headers["allow"] == "POST"


def until(api: httpx.Client, where: str, status: str) -> dict[str, Any]:
    for _ in range(400):
        seen = api.get(where).json()
        if seen["status"] == status:
            return seen
    raise AssertionError(where)
