"""An upload is judged once and leaves nothing behind, whoever dies on the way."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import JobStatus

from app.shared.errors import NoRoom, NotFound, Unreadable
from app.shared.events import stream_key
from app.shared.queue import INTAKE
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import CANCELED, ORPHANED_AFTER, Uploads, bytes_key, end_key, record_key, timeout_s
from app.shared.wire.upload import UploadStatus
from tests.app.shared.making import upload


@pytest.fixture
def uploads(storage: Storage, redis: Redis, settings: Settings) -> Uploads:
    return Uploads(storage, redis, settings)


@pytest.fixture
def staged(uploads: Uploads, tmp_path: Path) -> str:
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    uploads.stage(upload(), file)
    return upload().id


def left(storage: Storage) -> list[str]:
    return sorted(storage.keys("uploads"))


def test_what_is_staged_waits_until_it_is_settled(uploads: Uploads, storage: Storage, staged: str) -> None:
    assert uploads.get(staged) == uploads.waiting(staged)
    assert storage.get(bytes_key(staged)) == b"bytes"
    uploads.refuse(upload(), "adapter_refused", "because")
    assert (uploads.get(staged).status, uploads.get(staged).code) == (UploadStatus.REFUSED, "adapter_refused")
    assert uploads.waiting(staged) is None and left(storage) == []


def test_what_became_of_it_outlives_redis_for_an_hour(
    uploads: Uploads, storage: Storage, redis: Redis, staged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads.refuse(upload(), "adapter_refused", "because")
    redis.flushall()
    assert (uploads.get(staged).status, uploads.get(staged).message) == (UploadStatus.REFUSED, "because")
    uploads.sweep()
    assert uploads.get(staged).status is UploadStatus.REFUSED
    monkeypatch.setattr("app.shared.uploads.ORPHANED_AFTER", timedelta(0))
    uploads.sweep()
    assert list(storage.keys("settled")) == []
    with pytest.raises(NotFound):
        uploads.get(staged)


@pytest.mark.parametrize("lost", ["emptied", "popped", "neither"])
def test_an_inspection_that_is_lost_is_queued_again_once(
    uploads: Uploads, redis: Redis, settings: Settings, staged: str, lost: str
) -> None:
    queue = uploads.queues.of(INTAKE)
    if lost == "emptied":
        redis.flushall()
    if lost == "popped":  # by a worker that died before it began
        redis.lmove(queue.key, queue.intermediate_queue.key)
    for pause in (settings.sweep_every_s / 2, 0, 0):
        uploads.sweep()
        time.sleep(pause)
    assert queue.get_job_ids() == [staged]


def test_what_kills_its_inspection_on_every_try_is_refused(uploads: Uploads, storage: Storage, staged: str) -> None:
    job = uploads.queues.job(staged)
    assert job is not None
    job.set_status(JobStatus.FAILED)
    uploads.queues.of(INTAKE).remove(staged)
    uploads.sweep()
    assert (uploads.get(staged).status, uploads.get(staged).code) == (UploadStatus.REFUSED, "inspection_died")
    assert left(storage) == [] and uploads.queues.job(staged) is None


def test_of_all_who_would_end_an_upload_one_does_and_listeners_are_told(
    uploads: Uploads, storage: Storage, redis: Redis, staged: str
) -> None:
    admitted = upload().model_copy(update={"status": UploadStatus.ADMITTED, "version": 1})
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(uploads.settle, [admitted, uploads.as_canceled(upload())] * 4))
    assert len({one.status for one in ends}) == 1 and uploads.get(staged) == ends[0]
    events = [json.loads(fields[b"data"]) for _, fields in redis.xrange(stream_key(staged))]  # type: ignore[union-attr]
    assert [one["status"] for one in events] == ["inspecting", ends[0].status, *[ends[0].status] * (len(events) - 2)]
    assert left(storage) == []


def test_an_end_that_nobody_was_told_of_is_told_by_the_next_who_looks(
    uploads: Uploads, storage: Storage, redis: Redis, staged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ended it died right after the end was created."""

    def die(*_: object) -> None:
        raise RedisConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(RedisConnectionError):
        patch.setattr(uploads, "_announce", die)
        uploads.refuse(upload(), "adapter_refused", "because")
    assert uploads.waiting(staged) is not None
    assert uploads.to_do(staged) is None
    assert uploads.get(staged).status is UploadStatus.REFUSED and left(storage) == []


@pytest.mark.parametrize("named", [True, False])
def test_only_what_is_not_being_named_is_given_up(uploads: Uploads, storage: Storage, staged: str, named: bool) -> None:
    """Or its sender would be told that it was refused, and find it among the adapters."""
    if named:
        assert uploads.to_be_named(staged)
    uploads.give_up(upload())
    assert uploads.get(staged).status is (UploadStatus.INSPECTING if named else UploadStatus.REFUSED)
    assert uploads.queues.of(INTAKE).get_job_ids() == ([staged] if named else [])


def test_a_cancel_that_was_decided_and_not_told_is_done_to_the_end(
    uploads: Uploads, storage: Storage, staged: str
) -> None:
    """Who canceled it died in between, and the file kills every inspection."""
    storage.create(end_key(staged), CANCELED)
    uploads.give_up(upload())
    assert uploads.get(staged).status is UploadStatus.CANCELED
    assert uploads.queues.of(INTAKE).get_job_ids() == [] and left(storage) == []


def test_without_room_redis_alone_tells_what_was_refused(
    uploads: Uploads, storage: Storage, staged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise NoRoom("no_room", "full")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "create", full)
        uploads.refuse(upload(), "adapter_refused", "because")
    assert uploads.get(staged).status is UploadStatus.REFUSED
    assert left(storage) == list(storage.keys("settled")) == []


def test_bytes_that_belong_to_no_upload_are_cleared_when_they_are_old(
    uploads: Uploads, storage: Storage, settings: Settings, staged: str
) -> None:
    old, young = "1" * 32, "2" * 32
    for upload_id in (old, young):
        storage.put(bytes_key(upload_id), b"its API died before the record was written")
    then = time.time() - ORPHANED_AFTER.total_seconds() - 60
    for upload_id in (old, staged):
        os.utime(settings.data_dir / "store" / bytes_key(upload_id), (then, then))
    uploads.sweep()
    assert left(storage) == sorted([bytes_key(staged), record_key(staged), bytes_key(young)])


def test_an_old_file_that_was_just_linked_is_not_taken_for_one_that_nobody_wants(
    uploads: Uploads, storage: Storage, tmp_path: Path
) -> None:
    file, then = tmp_path / "of-last-year.safetensors", time.time() - 10 * ORPHANED_AFTER.total_seconds()
    file.write_bytes(b"bytes")
    storage.put("adapters/old", b"bytes")
    for old in (file, Path(storage.url.removeprefix("file://")) / "adapters" / "old"):
        os.utime(old, (then, then))
    storage.take(bytes_key("1" * 32), file)  # its record comes next
    storage.copy("adapters/old", bytes_key("2" * 32))
    uploads.sweep()
    assert left(storage) == [bytes_key("1" * 32), bytes_key("2" * 32)] and file.stat().st_mtime == then


def test_an_upload_that_cannot_be_read_is_told_for_an_hour_and_then_cleared(
    uploads: Uploads, storage: Storage, settings: Settings, redis: Redis, staged: str
) -> None:
    storage.put(record_key(staged), b"")
    redis.flushall()
    uploads.sweep()
    with pytest.raises(Unreadable, match="upload the file again"):
        uploads.get(staged)
    assert uploads.queues.of(INTAKE).get_job_ids() == []  # nobody could judge it
    then = time.time() - ORPHANED_AFTER.total_seconds() - 60
    os.utime(settings.data_dir / "store" / record_key(staged), (then, then))
    uploads.sweep()
    assert left(storage) == []


def test_an_unknown_upload_is_said_to_be(uploads: Uploads) -> None:
    with pytest.raises(NotFound):
        uploads.get("3" * 32)


@pytest.mark.parametrize(("kind", "mib", "shares"), [("dataset", 0, 1), ("dataset", 512, 33), ("adapter", 512, 1)])
def test_a_dataset_has_longer_by_its_bytes(settings: Settings, kind: str, mib: int, shares: int) -> None:
    sent = upload().model_copy(update={"kind": kind, "size_bytes": mib << 20})
    assert timeout_s(sent, settings) == shares * settings.inspect_timeout_s
