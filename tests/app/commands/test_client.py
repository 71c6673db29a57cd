"""The client follows a generation to its end, however often the stream is cut and whoever is away in between."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer import Exit
from typer.testing import CliRunner

from app.cli import cli
from app.commands import terminal
from app.commands.client import Client
from radiata_client import Refused, Stranger, Unreachable, core


def client(answer: Callable[[httpx.Request], httpx.Response], url: str = "http://service", **how: Any) -> Client:
    return Client(url, transport=httpx.MockTransport(answer), **how)


class _Cut(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"id: 1-0\nevent: progress\ndata: "
        yield json.dumps({"step": 1, "steps": 2}).encode() + b"\n\n"
        raise httpx.RemoteProtocolError("peer closed connection")


def test_a_stream_that_is_cut_is_followed_again() -> None:
    asked: list[str] = []

    resumed: list[str | None] = []

    def service(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked.append(path.rsplit("/", 1)[-1])
        if path.endswith("/events"):
            resumed.append(request.headers.get("Last-Event-ID"))
            return httpx.Response(200, stream=_Cut())
        status = "succeeded" if asked.count("events") == 3 else "running"
        return httpx.Response(200, json={"id": "one", "status": status})

    steps: list[tuple[int, int]] = []
    with client(service) as one:
        assert one.generate({}, lambda *step: steps.append(step))["status"] == "succeeded"
    assert asked.count("events") == 3 and steps == [(1, 2)], "it is told once, however often it is sent"
    assert resumed == [None, "1-0", "1-0"]


EVENTLESS = {
    "a proxy that knows no streams": lambda: httpx.Response(502, text="<html>"),
    "one that ends them": lambda: httpx.Response(200),
    "one that sends no JSON": lambda: httpx.Response(
        200, text="data: {\n\ndata: []\n\ndata: " + "[" * 100_000 + "\n\n"
    ),
    "one that lets comments through": lambda: httpx.Response(200, text=": still here\n\n"),
    "one that tells the same again": lambda: httpx.Response(200, stream=_Cut()),
}


@pytest.mark.parametrize("eventless", EVENTLESS.values(), ids=EVENTLESS.keys())
def test_where_no_events_come_through_it_asks_now_and_then(
    eventless: Callable[[], httpx.Response],
) -> None:
    slept: list[float] = []
    asked = 0

    def service(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        if request.url.path.endswith("/events"):
            return eventless()
        asked += 1
        assert asked < 45
        return httpx.Response(200, json={"id": "one", "status": "succeeded" if sum(slept) > 60 else "running"})

    with client(service) as one:
        one.sdk._sleep = slept.append
        assert one.generate({})["status"] == "succeeded"
    assert max(slept) == core.LONGEST_PAUSE_S


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "PAUSE_S", 0.001)


AWAY = [
    httpx.ConnectError("connection refused"),
    httpx.ReadError("connection reset"),
    httpx.ReadTimeout("nothing came"),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    *(httpx.Response(status, text="<html>from a proxy</html>") for status in (502, 503, 504)),
]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", AWAY, ids=repr)
def test_a_service_that_is_away_in_the_middle_is_waited_for(away: httpx.Response | Exception) -> None:
    asked: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path.rsplit('/', 1)[-1]}")
        if request.method == "POST":
            return httpx.Response(202, json={"id": "one", "status": "queued"})
        if len(asked) < 6:
            if isinstance(away, Exception):
                raise away
            return away
        if request.url.path.endswith("/events"):
            return httpx.Response(200, stream=_Cut())
        if request.url.path.endswith(".png"):
            return httpx.Response(200, content=b"png")
        return httpx.Response(200, json={"id": "one", "status": "succeeded"})

    told: list[str] = []
    with client(service) as one:
        assert one.generate({}, accepted=told.append)["status"] == "succeeded"
        asked[:] = asked[:3]
        assert one.image("/v1/images/one.png") == b"png"
    assert told == ["one"] and asked.count("POST generations") == 1


@pytest.mark.usefixtures("impatient")
def test_patience_ends() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"id": "one", "status": "queued"})
        raise httpx.ConnectError("refused")

    with client(service, patience_s=0.2) as one, pytest.raises(Unreachable):
        one.generate({})


@pytest.mark.usefixtures("impatient")
def test_a_request_whose_answer_was_lost_is_asked_again_as_the_same_one() -> None:
    keys: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            raise httpx.ReadError("connection reset")
        return httpx.Response(202, json={"id": "one", "status": "succeeded"})

    with client(service) as one:
        one.generate({})
        one.generate({})
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("refusal", [httpx.ConnectError("refused"), httpx.RemoteProtocolError("illegal status line")])
def test_nobody_there_at_first_is_told_at_once(refusal: Exception) -> None:
    asked = 0

    def service(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise refusal

    with client(service) as one, pytest.raises(Unreachable) as unreachable:
        one.generate({})
    assert asked == 1 and unreachable.value.__cause__ is refusal


STRANGERS = [
    httpx.Response(200, text="<html>It works!</html>"),
    httpx.Response(200, json=["a", "list"]),
    httpx.Response(200, json={"detail": "another service"}),
    httpx.Response(404, text="<html>not found</html>"),
    httpx.Response(404, json={"detail": "Not Found"}),
    httpx.Response(301, headers={"Location": "https://elsewhere/"}),
    httpx.Response(401, text="who are you?"),
    httpx.Response(200, text="[" * 100_000),
    httpx.Response(404, text='{"code":' * 100_000),
]


@pytest.mark.parametrize("answer", STRANGERS, ids=lambda answer: repr(answer.text[:40]))
def test_a_stranger_is_told_from_the_service(answer: httpx.Response) -> None:
    with client(lambda _: answer) as one:
        for ask in (one.adapters, lambda: one.adapter("a"), lambda: one.generate({})):
            with pytest.raises(Stranger, match="not as Radiata does") as stranger:
                ask()
        assert answer.headers.get("Location", "") in str(stranger.value)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str) -> None:
    monkeypatch.setenv(variable, proxy)
    for here in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"):
        with Client(here) as one:
            assert one.sdk._http._mounts == {}
    try:
        with Client("http://192.0.2.1") as one:
            assert one.sdk._http._mounts
    except Unreachable as error:
        assert "proxy in the environment" in str(error) and proxy.startswith(("socks5", "nonsense"))


def test_below_a_prefix_both_ways_of_writing_a_path_are_understood() -> None:
    seen: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, content=b"png")

    with client(service, "http://service/radiata") as one:
        for url in ("/v1/images/a.png", "/radiata/v1/images/a.png"):
            one.image(url)
    assert seen == ["/radiata/v1/images/a.png"] * 2


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RADIATA_KEY": "schlüssel"}, "--key or RADIATA_KEY"),
        ({"RADIATA_KEY": "rad_\nX-Other: 1"}, "--key or RADIATA_KEY"),
        ({"HTTP_PROXY": "nonsense://here"}, "proxy in the environment"),
    ],
)
def test_what_of_the_environment_cannot_be_used_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(cli, ["list", "--url", "http://192.0.2.1"])
    assert told.exit_code == 2 and isinstance(told.exception, SystemExit)
    assert says in told.output and "schl" not in told.output and "X-Other" not in told.output


def test_who_needs_a_key_is_told_where_to_give_it() -> None:
    def service(_: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"code": "key_missing", "detail": "every request needs a key here"})

    with terminal.err.capture() as said, pytest.raises(Exit), terminal.told(), client(service) as one:
        one.adapters()
    assert "RADIATA_KEY" in said.get()


def test_a_text_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "infotext.txt").write_bytes(b"\xff\xfe")
    told = CliRunner(env={"COLUMNS": "500"}).invoke(cli, ["recipe", str(tmp_path / "infotext.txt")])
    assert told.exit_code == 2 and "no text in UTF-8" in told.output


def test_a_problem_keeps_its_reasons() -> None:
    problem = {"detail": "no", "code": "adapter_refused", "errors": [{"tensor": "a"}]}
    with client(lambda _: httpx.Response(422, json=problem)) as one, pytest.raises(Refused, match="no") as refused:
        one.adapters()
    assert refused.value.errors == [{"tensor": "a"}]


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
