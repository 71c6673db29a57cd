"""Bodies have a cap, declared or not; what goes out is marked as data."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from app.middleware.body_cap import JSON_CAP, BodyCap
from app.middleware.safe_headers import HEADERS
from app.shared.errors import Unavailable
from app.shared.settings import MIB


def through(
    path: str, declared: str | None, chunks: list[bytes], kind: bytes = b"Multipart/Form-Data; boundary=x"
) -> tuple[int, int]:
    """Status and bytes that reached the app behind the cap."""
    reached = 0
    sent: list[Any] = []
    left = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        for _ in chunks:
            reached += len((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", kind)]
    headers += [] if declared is None else [(b"content-length", declared.encode("latin-1"))]
    scope = {"type": "http", "path": path, "headers": headers}
    try:
        asyncio.run(BodyCap(app, upload_mb=1, image_mb=3, dataset_mb=1, bodies_mb=64)(scope, receive, send))
    except HTTPException as refusal:
        return refusal.status_code, reached
    return sent[0]["status"], reached


@pytest.mark.parametrize("declared", [str(JSON_CAP + 1), "1" * 30, "-1", "1e3", "²", "", "0x10"])
def test_a_length_that_is_too_much_or_none_is_refused_unread(declared: str) -> None:
    assert through("/v1/anything", declared, [b"x"]) == (413, 0)


def test_an_undeclared_body_is_read_up_to_the_cap() -> None:
    status, reached = through("/v1/anything", None, [b"x" * 4096] * 1000)
    assert status == 413
    assert reached <= JSON_CAP, f"{reached} bytes of {JSON_CAP} went through"


def test_only_uploads_may_be_large() -> None:
    large = [b"x" * JSON_CAP, b"x"]
    for path in ("/v1/adapters", "/v1/images", "/v1/generations"):  # the last may bring pictures
        assert through(path, None, large) == (200, JSON_CAP + 1)
        assert through(path, None, [b"x" * JSON_CAP] * 6)[0] == 413
    assert through("/v1/anything", None, large)[0] == 413


@pytest.mark.parametrize("kind", [b"application/json", b"application/merge-patch+json", b"", b"x/multipart/form-data"])
@pytest.mark.parametrize("path", ["/v1/adapters", "/v1/datasets", "/v1/images/x/preprocess"])
def test_what_is_read_into_memory_is_small_there_too(path: str, kind: bytes) -> None:
    assert through(path, None, [b"x" * JSON_CAP, b"x"], kind)[0] == 413
    assert through(path, str(JSON_CAP + 1), [b"x"], kind) == (413, 0)


@pytest.mark.parametrize("path", ["/", "/v1/adapters", "/nowhere", "/static/x/main.js", "/openapi.json"])
def test_every_answer_keeps_data_data(api: httpx.Client, path: str) -> None:
    headers = api.get(path).headers
    missing = [name for name, value in HEADERS.items() if headers.get(name) != value]
    assert missing == []


@pytest.mark.parametrize("path", ["/v1/generations", "/hf/models/x"])
@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=x"])
def test_of_all_bodies_in_memory_there_are_so_many_bytes_at_once(path: str, kind: bytes) -> None:
    """Two are held; the third, which would be too much, is told to come again; the room is there once one has gone."""
    go_on, scope = asyncio.Event(), {"type": "http", "path": path, "headers": [(b"content-type", kind)]}
    body = {"type": "http.request", "body": b"x" * (MIB * 3 // 2), "more_body": False}
    statuses: list[int] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return body

    async def send(message: Any) -> None:
        statuses.append(message["status"])

    async def together() -> None:
        cap = BodyCap(app, upload_mb=1, image_mb=3, dataset_mb=1, bodies_mb=4)
        held = [asyncio.create_task(cap(scope, receive, send)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="over 4 MiB") as refused:
            await cap(scope, receive, send)
        assert refused.value.retry_after_s
        form = scope | {"path": "/v1/images", "headers": [(b"content-type", b"multipart/form-data; boundary=x")]}
        held += [asyncio.create_task(cap(form, receive, send)), asyncio.create_task(cap(form, receive, send))]
        go_on.set()
        await asyncio.gather(*held)
        await cap(scope, receive, send)

    asyncio.run(together())
    assert statuses == [200] * 5


def test_bodies_that_were_too_large_leave_no_more_room_than_there_was() -> None:
    scope: dict[str, Any] = {"type": "http", "path": "/v1/generations", "headers": []}
    sizes = iter([6, 6, 6, 1, 4])  # MiB: three over the cap of 5; then two that are over the room of 4 together

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if _scope.get("holds"):
            with pytest.raises(Unavailable):
                await cap(scope, receive_next, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive_next() -> Any:
        return {"type": "http.request", "body": b"x" * (next(sizes) * MIB), "more_body": True}

    async def send(_message: Any) -> None:
        pass

    cap = BodyCap(app, upload_mb=1, image_mb=3, dataset_mb=1, bodies_mb=4)
    for _ in range(3):
        with pytest.raises(HTTPException):
            asyncio.run(cap(scope, receive_next, send))
    asyncio.run(cap(scope | {"holds": True}, receive_next, send))
