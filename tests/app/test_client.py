"""The client follows a generation to its end, however often the stream is cut."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from app.client import Client, Refused


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    one = Client("http://service")
    one._http.close()
    one._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    return one


class _Cut(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"id: 1-0\nevent: progress\ndata: "
        yield json.dumps({"step": 1, "steps": 2}).encode() + b"\n\n"
        raise httpx.RemoteProtocolError("peer closed connection")


def test_a_stream_that_is_cut_is_followed_again() -> None:
    asked: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked.append(path.rsplit("/", 1)[-1])
        if path.endswith("/events"):
            return httpx.Response(200, stream=_Cut())
        status = "succeeded" if asked.count("events") == 3 else "running"
        return httpx.Response(200, json={"id": "one", "status": status})

    steps: list[tuple[int, int]] = []
    with client(service) as one:
        assert one.generate({}, lambda *step: steps.append(step))["status"] == "succeeded"
    assert asked.count("events") == 3 and steps == [(1, 2)] * 3


def test_a_problem_keeps_its_reasons() -> None:
    problem = {"detail": "no", "code": "adapter_refused", "errors": [{"tensor": "a"}]}
    with client(lambda _: httpx.Response(422, json=problem)) as one, pytest.raises(Refused, match="no") as refused:
        one.adapters()
    assert refused.value.reasons == [{"tensor": "a"}]


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<html>"), httpx.Response(500)])
def test_an_answer_that_is_no_problem_is_one_anyway(answer: httpx.Response) -> None:
    with client(lambda _: answer) as one, pytest.raises(Refused, match="http_50"):
        one.adapters()


def test_a_stream_that_is_refused_is_a_problem() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(404, json={"detail": "gone", "code": "generation_unknown"})
        return httpx.Response(200, json={"id": "one", "status": "queued"})

    with client(service) as one, pytest.raises(Refused, match="generation_unknown"):
        one.generate({})
