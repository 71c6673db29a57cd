"""What newer code wrote is left as it is and where it is: another machine, upgraded already, can read it."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.exceptions import DequeueTimeout

from app.shared.catalog import Catalog
from app.shared.errors import Newer
from app.shared.facts import AdapterFacts
from app.shared.generation_keys import pending_key
from app.shared.generations import Ledger
from app.shared.identity import KEY, claim
from app.shared.job import MOST_NEWER, REFUSED, KnownQueue
from app.shared.metrics import counted
from app.shared.queue import INTAKE, Queues, generation_queue
from app.shared.record_format import FORMAT, stamped, unstamped
from app.shared.settings import BadSettings, Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.uploads import ORPHANED_AFTER, Uploads, bytes_key, record_key
from tests.app.shared.making import MODEL, request, upload, version
from tests.app.shared.test_records import WHOLE, kind_of


def newer(storage: Storage, key: str) -> bytes:
    """Have a record be one that newer code has written."""
    record: dict[str, Any] = json.loads(storage.get(key) or b"{}")
    data = json.dumps({**record, "format": FORMAT + 1, "unheard": "of"}).encode()
    storage.put(key, data)
    return data


@pytest.mark.parametrize("text", ["{}", '{"a": 1}', '  {"a": {"format": 7}}'])
def test_a_stamp_comes_off_as_it_was_put_on(text: str) -> None:
    data = stamped(text)
    assert json.loads(data)["format"] == FORMAT and data.startswith(b'{"format":')
    assert unstamped(text) == (1, text.encode()) and unstamped(data.decode())[0] == FORMAT
    assert json.loads(unstamped(data)[1]) == json.loads(text)


@pytest.mark.parametrize("key", WHOLE)
def test_every_kind_is_read_in_all_formats_up_to_ours_and_no_later_one(key: str) -> None:
    kind, text = kind_of(key), WHOLE[key]
    record = kind.read(key, text)
    assert unstamped(kind.write(record))[0] == FORMAT
    members = json.loads(text)
    for one in ({"format": FORMAT, **members}, {**members, "format": FORMAT}, {"format": 1, **members}):
        assert kind.read(key, json.dumps(one)) == record
    for one in ({"format": FORMAT + 1, **members}, {**members, "format": 999}, {"format": FORMAT + 1}):
        with pytest.raises(Newer, match="upgrade Radiata"):
            kind.read(key, json.dumps(one, indent=1))


def test_a_newer_generation_stays_where_it_is(
    storage: Storage, redis: Redis, settings: Settings, told: list[str]
) -> None:
    ledger = Ledger(storage, redis, settings)
    one, other = ledger.accept(request()), ledger.accept(request())
    data = newer(storage, pending_key(one.id))
    redis.delete(f"radiata:live:{one.id}")
    for _ in range(3):
        Sweep(storage, redis, settings).run()
        with pytest.raises(Newer):
            ledger.start(one.id)
        assert [found.id for found in ledger.list(10, None)[0]] == [other.id]
    assert storage.get(pending_key(one.id)) == data
    assert ledger.queues.of(generation_queue(MODEL)).get_job_ids() == [one.id, other.id]
    assert told == [pending_key(one.id)]


def test_a_newer_upload_stays_where_it_is(storage: Storage, redis: Redis, settings: Settings, tmp_path: Path) -> None:
    uploads = Uploads(storage, redis, settings)
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    uploads.stage(upload(), file)
    data = newer(storage, record_key(upload().id))
    then = time.time() - ORPHANED_AFTER.total_seconds() - 60
    for key in (record_key(upload().id), bytes_key(upload().id)):
        os.utime(settings.data_dir / "store" / key, (then, then))
    uploads.sweep()
    with pytest.raises(Newer):
        uploads.to_do(upload().id)
    assert storage.get(record_key(upload().id)) == data and storage.get(bytes_key(upload().id)) == b"bytes"
    assert uploads.queues.of(INTAKE).get_job_ids() == [upload().id]


def test_a_newer_tombstone_is_not_written_over(storage: Storage, redis: Redis) -> None:
    catalog = Catalog(storage, redis)
    catalog.admit(version("a"), {})
    catalog.delete("a")
    data = newer(storage, "names/a/deleted.json")
    with pytest.raises(Newer):
        catalog.delete("a")
    assert storage.get("names/a/deleted.json") == data


def later(redis: Redis, job_id: str) -> dict[bytes, bytes]:
    """Have a job be one that newer code has queued, in words that nobody here knows."""
    redis.hset(f"rq:job:{job_id}", mapping={"meta": f'{{"format": {FORMAT + 1}, "x": 1}}', "unheard": "of"})
    return redis.hgetall(f"rq:job:{job_id}")  # type: ignore[return-value]


def test_a_newer_job_is_put_back_and_those_behind_it_are_taken(
    storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.shared.job.PUT_BACK_S", 0.01)
    ledger = Ledger(storage, redis, settings)
    one, other = ledger.accept(request()), ledger.accept(request())
    queue = ledger.queues.of(generation_queue(MODEL))
    fields = later(redis, one.id)

    def take(timeout: int | None) -> str | None:
        taken = KnownQueue.dequeue_any([queue], timeout, redis)
        return taken[0].id if taken else None

    assert take(1) == other.id and take(None) is None
    with pytest.raises(DequeueTimeout):
        take(1)
    assert queue.get_job_ids() == [one.id] and redis.llen(queue.intermediate_queue_key) == 1  # the other's
    redis.lpop(queue.key)  # as if its worker died between the two lists
    Sweep(storage, redis, settings).run()
    assert redis.hgetall(f"rq:job:{one.id}") == fields and REFUSED not in counted(redis)
    assert Queues(redis, settings).job(one.id) is None


def test_newer_jobs_of_an_urgent_queue_keep_no_other_waiting(
    storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.shared.job.PUT_BACK_S", 0.01)
    ledger = Ledger(storage, redis, settings)
    urgent = [ledger.accept(request(), priority="high").id for _ in range(2 * MOST_NEWER)]
    for one in urgent:
        later(redis, one)
    other = ledger.accept(request())
    queues = [ledger.queues.of(generation_queue(MODEL, priority)) for priority in ("high", "normal")]
    taken = KnownQueue.dequeue_any(queues, None, redis)
    assert taken is not None and taken[0].id == other.id
    assert sorted(queues[0].get_job_ids()) == sorted(urgent)


def test_a_record_with_a_field_more_is_one_of_newer_code(storage: Storage, redis: Redis, settings: Settings) -> None:
    """Such a field does not count the format up."""
    ledger = Ledger(storage, redis, settings)
    one = ledger.accept(request())
    record = json.loads(storage.get(pending_key(one.id)) or b"")
    record["generation"]["request"]["unheard"] = 0.5
    storage.put_json(pending_key(one.id), record)
    redis.flushall()
    with pytest.raises(Newer, match="unheard"):
        ledger.start(one.id)
    Sweep(storage, redis, settings).run()
    assert storage.exists(pending_key(one.id))


def test_what_newer_code_found_of_a_file_is_not_written_over(storage: Storage, redis: Redis) -> None:
    catalog = Catalog(storage, redis)
    facts = AdapterFacts(ranked=True, on={})
    catalog.admit(version("a"), {MODEL: {"layers": 1}}, facts)
    keys = [key for key in storage.keys("adapters") if key.endswith(".json")]
    assert len(keys) == 2
    data = [newer(storage, key) for key in keys]
    catalog.admit(version("a"), {MODEL: {"layers": 2}}, facts)
    assert [storage.get(key) for key in keys] == data


def test_a_store_of_newer_code_is_refused_in_a_sentence(storage: Storage, redis: Redis) -> None:
    claim(storage, redis)
    data = newer(storage, KEY)
    with pytest.raises(BadSettings, match=f"made by a newer version of Radiata .format {FORMAT + 1};"):
        claim(storage, redis)
    assert storage.get(KEY) == data
