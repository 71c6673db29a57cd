"""An upload is spooled once and hashed on the way; who leaves, leaves nothing; many that wait hold up nobody."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.shared.generations import Ledger
from app.shared.queue import INTAKE, Queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.wire.upload import UploadStatus
from tests.app.conftest import serving
from tests.app.http.held import HeldStaging

PATIENCE_S = 60
THREADS = 40  # that answer requests, as anyio has it
BODY = b"x" * 3_000_001


def send(api: httpx.Client, data: bytes = BODY, **headers: str) -> httpx.Response:
    return api.post("/v1/adapters", files={"file": ("x", data)}, data={"name": "a"}, headers=headers)


def eventually(true: Any) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_is_sent_is_spooled_once_and_named_by_its_hash(
    api: httpx.Client, temporary: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled: list[int] = []
    really = Storage.put_async

    async def put_async(self: Storage, key: str, data: bytes | Path) -> None:
        spooled.append(sum(path.stat().st_size for path in temporary.iterdir()))
        await really(self, key, data)

    monkeypatch.setattr(Storage, "put_async", put_async)
    answer = send(api, Prefer="respond-async")
    assert (answer.status_code, answer.json()["sha256"]) == (202, sha256(BODY).hexdigest())
    assert spooled[0] == len(BODY) and list(temporary.iterdir()) == []
    assert storage.get(f"uploads/{answer.json()['id']}.safetensors") == BODY


@pytest.mark.parametrize("name", ["/nowhere", ""])
def test_a_part_that_is_sent_is_gone_when_its_sender_is(
    api: httpx.Client, temporary: Path, storage: Storage, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    request = f"POST /v1/adapters{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
    with socket.create_connection((api.base_url.host, api.base_url.port or 80)) as raw:
        raw.sendall(request.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head + b"x" * 400_000)
        if not name:
            eventually(lambda: list(temporary.iterdir()))
    eventually(lambda: not list(temporary.iterdir()))
    assert list(storage.keys("uploads")) == []
    assert send(api, Prefer="respond-async").status_code == 202
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_an_upload_that_waits_can_be_canceled_once(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings
) -> None:
    where = send(api, Prefer="respond-async").headers["location"]
    for _ in range(2):
        answer = api.delete(where)
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert list(storage.keys("uploads")) == []
    assert (api.get(where).status_code, api.get(where).json()["code"]) == (410, "upload_canceled")
    uploads = Uploads(storage, redis, settings)
    assert uploads.queues.of("intake").get_job_ids() == []
    settled = api.get(send(api, Prefer="respond-async").headers["location"]).json()
    uploads.refuse(uploads.get(settled["id"]), "adapter_refused", "no")
    assert api.delete(f"/v1/adapters/uploads/{settled['id']}").status_code == 409
    assert uploads.get(settled["id"]).status is UploadStatus.REFUSED
    assert api.delete(f"/v1/adapters/uploads/{'0' * 32}").status_code == 404


@pytest.mark.parametrize("prefer", ["Prefer: respond-async\r\n", ""])
def test_who_leaves_while_the_file_is_put_away_has_canceled_it(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, prefer: str
) -> None:
    """All of it was sent, and no address has come back: nobody else could cancel it."""
    held = HeldStaging(monkeypatch, storage)
    fields = api.build_request("POST", "/v1/adapters", files={"file": ("x", b"bytes")}, data={"name": "a"})
    head = f"POST /v1/adapters HTTP/1.1\r\nHost: localhost\r\n{prefer}"
    head += "".join(f"{name}: {fields.headers[name]}\r\n" for name in ("Content-Type", "Content-Length"))
    with socket.create_connection((api.base_url.host, api.base_url.port or 80)) as raw:
        raw.sendall(head.encode() + b"\r\n" + fields.read())
        assert held.begun.wait(PATIENCE_S)
    time.sleep(0.2)  # for the API to hear of it
    held.go.set()
    eventually(lambda: held.staged and not list(storage.keys("uploads")))
    assert len(held.staged[0]) == 2
    eventually(lambda: Queues(redis, settings).of(INTAKE).get_job_ids() == [])


@pytest.fixture
def patient(settings: Settings, api: httpx.Client) -> Iterator[httpx.Client]:
    with serving(settings.model_copy(update={"upload_wait_s": 30.0})) as client:
        yield client


def test_a_verdict_is_told_at_once(patient: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> None:
    uploads = Uploads(storage, redis, settings)

    def judge() -> None:
        eventually(lambda: list(storage.keys("uploads")))
        time.sleep(0.5)
        for key in [key for key in storage.keys("uploads") if key.endswith(".json")]:
            uploads.refuse(uploads.get(key.split("/")[1].removesuffix(".json")), "adapter_refused", "because")

    thread = threading.Thread(target=judge)
    thread.start()
    answer = send(patient)
    thread.join()
    assert (answer.status_code, answer.json()["code"]) == (422, "adapter_refused")


def test_a_hundred_uploads_that_wait_hold_up_nobody(patient: httpx.Client, storage: Storage) -> None:
    async def crowd() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=patient.base_url, timeout=PATIENCE_S, limits=limits) as client:

            async def one() -> int:
                files = {"file": ("x", b"bytes")}
                return (await client.post("/v1/adapters", files=files, data={"name": "a"})).status_code

            waiting = [asyncio.create_task(one()) for _ in range(100)]
            async with asyncio.timeout(PATIENCE_S):
                while len(await asyncio.to_thread(lambda: list(storage.keys("uploads")))) < 200:
                    await asyncio.sleep(0.1)
                assert not any(task.done() for task in waiting)
                assert (await client.get("/healthz")).status_code == 200
                accepted = await client.post("/v1/generations", json={"prompt": "a red apple"})
                assert accepted.status_code == 202, accepted.text
                assert not any(task.done() for task in waiting), "they wait still"
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(crowd())


def test_nothing_that_hangs_holds_up_the_probe(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    release, hanging = threading.Event(), threading.Semaphore(0)

    def get(*_: object) -> None:
        hanging.release()
        release.wait(PATIENCE_S)

    monkeypatch.setattr(Ledger, "get", get)
    threads = [
        threading.Thread(target=lambda: httpx.get(f"{api.base_url}/v1/generations/{'0' * 32}", timeout=PATIENCE_S))
        for _ in range(60)
    ]
    for thread in threads:
        thread.start()
    for _ in range(THREADS):
        assert hanging.acquire(timeout=PATIENCE_S), "every thread that answers is taken"
    assert api.get("/healthz", timeout=10).json() == {"status": "ok"}
    release.set()
    for thread in threads:
        thread.join()
