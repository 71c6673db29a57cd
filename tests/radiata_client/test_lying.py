"""Over a connection that lies, one request is one picture, and its progress is told once, in order, to its end."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from radiata_client import AsyncClient, Canceled, Client, Failed, Refused, Stranger, Unreachable, errors
from radiata_client.models import Progress
from tests.radiata_client.both import FACES, URL, face

STEPS = 3
AT = "2026-11-27T00:00:00Z"


def record(**facts: Any) -> dict[str, Any]:
    image = {"index": 0, "url": "/v1/images/one/0.png", "seed": 7, "width": 8, "height": 8, "sha256": "0" * 64}
    return {
        **{"id": "one", "status": "succeeded", "progress": {"step": STEPS, "steps": STEPS}, "request": {"seed": 7}},
        **{"images": [image], "created_at": AT, "added_later": 1, **facts},
    }


def event(step: int) -> bytes:
    return f"id: {step}-0\nevent: progress\ndata: {json.dumps({'step': step, 'steps': STEPS})}\n\n".encode()


EVENTS = [event(step) for step in range(1, STEPS + 1)]


class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """So many bytes, then a broken connection, or a clean end where it is all."""

    def __init__(self, data: bytes, at: int, whole: bool = False) -> None:
        self._data, self._at, self._whole = data, at, whole

    def __iter__(self) -> Iterator[bytes]:
        yield self._data[: self._at]
        if self._at < len(self._data) and not self._whole:
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for one in self:
            yield one


class Liar:
    """A service whose first answers of each kind are cut after so many bytes; it keeps what it has accepted."""

    def __init__(self, at: int | None = None, lies: int = 1) -> None:
        self.at, self.lies = at, lies
        self.accepted: dict[str, dict[str, Any]] = {}
        self.keys: list[str] = []
        self.resumed: list[str | None] = []
        self._cuts: dict[str, int] = {}
        self._told = False  # whether a stream of events was whole

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            key = request.headers["Idempotency-Key"]
            self.keys.append(key)
            self.accepted.setdefault(key, json.loads(request.content))
            return self._cut("post", json.dumps(record(status="queued", images=[])).encode(), 202)
        if path.endswith("/events"):
            last = request.headers.get("Last-Event-ID")
            self.resumed.append(last)
            return self._cut("events", b"".join(EVENTS[int(last.partition("-")[0]) if last else 0 :]), 200)
        if path.endswith(".png"):
            return self._cut("image", b"picture", 200)
        state = record() if self._told else record(status="running")
        return self._cut("look", json.dumps(state).encode(), 200)

    def _cut(self, kind: str, data: bytes, status: int) -> httpx.Response:
        if self.at is not None and self.at < len(data) and self._cuts.get(kind, 0) < self.lies:
            self._cuts[kind] = self._cuts.get(kind, 0) + 1
            return httpx.Response(status, stream=Cut(data, self.at))
        self._told |= kind == "events"
        return httpx.Response(status, stream=Cut(data, len(data)))


@pytest.mark.parametrize("kind", FACES)
@pytest.mark.parametrize("lies", [1, 3])
def test_cut_at_every_byte_it_is_drawn_once_and_told_once(kind: str, lies: int) -> None:
    for at in range(sum(map(len, EVENTS)) + 1):
        liar = Liar(at, lies)
        with face(kind, liar) as client:
            job = client.begin("a red apple", adapters={"style": 0.8}, seed=7)
            steps = client.follow(job)
            assert client.of(job, "images") == [b"picture"], at
        assert len(liar.accepted) == 1 and len(set(liar.keys)) == 1, at
        assert [one.step for one in steps] == [1, 2, 3] and {*map(type, steps)} == {Progress}, at
    (body,) = liar.accepted.values()
    assert body == {"prompt": "a red apple", "adapters": [{"ref": "style", "strength": 0.8}], "seed": 7}


@pytest.mark.parametrize("kind", FACES)
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_is_not_taken_yet_is_offered_again_when_the_service_says(kind: str, status: int) -> None:
    keys: list[str] = []

    def busy(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            keys.append(request.headers["Idempotency-Key"])
            if len(keys) < 3:
                return httpx.Response(status, json={"code": "queue_full"}, headers={"Retry-After": "7"})
        return httpx.Response(202, json=record())

    with face(kind, busy) as client:
        client.begin("a fox")
        assert client.slept == [7.0, 7.0] and len(keys) == 3 and len(set(keys)) == 1
        client.begin("a fox", idempotency_key="mine")
        assert keys[3:] == ["mine"]
    with face(kind, lambda _: httpx.Response(503, json={"code": "x"}, headers={"Retry-After": "61"})) as client:
        with pytest.raises(Refused) as refused:
            client.begin("a fox")
        assert refused.value.retry_after == 61 and client.slept == [], "nobody waits longer than was said"
    with face(kind, lambda _: httpx.Response(503), begin_s=0) as client, pytest.raises(Refused, match="http_503"):
        client.begin("a fox")


@pytest.mark.parametrize("kind", FACES)
def test_a_limit_met_while_asking_is_waited_for(kind: str) -> None:
    asked = 0

    def limited(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            return httpx.Response(429, json={"code": "rate_limited"}, headers={"Retry-After": "5"})
        return httpx.Response(200, json={"adapters": []})

    with face(kind, limited) as client:
        assert client.call("adapters") == [] and client.slept == [5.0]


@pytest.mark.parametrize("kind", FACES)
def test_ends_are_exceptions_with_what_they_are_of(kind: str) -> None:
    for facts, raised, code in (
        ({"status": "failed", "error": {"code": "out_of_memory", "message": "too large"}}, Failed, "out_of_memory"),
        ({"status": "canceled"}, Canceled, "canceled"),
    ):
        with face(kind, lambda _, facts=facts: httpx.Response(202, json=record(images=[], **facts))) as client:
            job = client.begin("a fox")
            with pytest.raises(raised) as ended:
                client.of(job, "wait")
        assert ended.value.code == code and ended.value.job["id"] == "one"


STATUSES = {
    **dict.fromkeys((400, 413, 415, 422), errors.Invalid),
    401: errors.KeyNeeded,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.NotFound,
    418: errors.Refused,
    500: errors.Unavailable,
}


@pytest.mark.parametrize("kind", FACES)
@pytest.mark.parametrize(("status", "raised"), STATUSES.items())
def test_a_refusal_is_an_exception_of_its_kind_with_code_and_pointers(kind: str, status: int, raised: type) -> None:
    fault = {"pointer": "/steps", "code": "too_large", "message": "at most 150"}
    problem = {"code": "invalid_request", "detail": "steps: at most 150", "errors": [fault], "status": status}
    with face(kind, lambda _: httpx.Response(status, json=problem)) as client, pytest.raises(Refused) as refused:
        client.begin("a fox", steps=151)
    assert type(refused.value) is raised and refused.value.status == status
    assert (refused.value.code, refused.value.pointers) == ("invalid_request", ["/steps"])
    assert refused.value.problem == problem and "at most 150" in str(refused.value)


@pytest.mark.parametrize("kind", FACES)
def test_nobody_and_a_stranger_are_told_at_once(kind: str) -> None:
    def nobody(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with face(kind, nobody) as client, pytest.raises(Unreachable, match="http://service: refused"):
        client.begin("a fox")
    with face(kind, lambda _: httpx.Response(200, text="<html>")) as client, pytest.raises(Stranger):
        client.begin("a fox")


@pytest.mark.parametrize("kind", FACES)
def test_a_key_goes_to_its_own_service_alone(kind: str) -> None:
    asked: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=b"png")

    with face(kind, service, "http://service/draw") as client:
        for url in ("http://service/draw/v1/images/a/0.png?exp=1", "//other/v1/images/a/0.png"):
            with suppress(Stranger):
                client.call("image", url)
        for url in ("http://other/v1/images/a/0.png", "http://service:81/draw/a", "http://service/drawn/a"):
            with pytest.raises(Stranger, match="is not below http://service/draw"):
                client.call("image", url)
    assert asked == ["http://service/draw/v1/images/a/0.png?exp=1"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "wrong", [("http://[::1", "rad_a"), ("ftp://host", "rad_a"), (URL, "schlüssel"), (URL, "a\nb")]
)
def test_an_address_or_a_key_that_is_none_is_told_at_once(
    kind: type[Client] | type[AsyncClient], wrong: tuple[str, str]
) -> None:
    says = "characters that no key has" if wrong[0] == URL else "no address"
    with pytest.raises(ValueError, match=says):
        kind(*wrong)


@pytest.mark.parametrize("kind", FACES)
def test_fields_that_a_newer_service_adds_are_kept(kind: str) -> None:
    with face(kind, lambda _: httpx.Response(202, json=record())) as client:
        state = client.begin("a fox").state
    assert state.added_later == 1 and state.images[0].seed == 7


@pytest.mark.parametrize("kind", FACES)
def test_whoever_stops_following_closes_the_stream(kind: str) -> None:
    class Open(Cut):
        closed = False

        def close(self) -> None:
            self.closed = True

        async def aclose(self) -> None:
            self.closed = True

    streams: list[Open] = []

    def service(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json=record(status="queued"))
        streams.append(Open(b"".join(EVENTS), 10_000))
        return httpx.Response(200, stream=streams[-1])

    with face(kind, service) as client:
        job = client.begin("a fox")
        if kind == "sync":
            for _ in job:
                break
        else:

            async def one_step() -> None:
                async for _ in job:
                    break

            client._run(one_step())
    assert streams[0].closed
