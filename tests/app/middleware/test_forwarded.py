"""Behind a proxy, below a path: every address in an answer can be opened from outside, whoever takes the prefix off."""

import asyncio
from typing import Any

import pytest

from app.middleware.forwarded import Forwarded, path_here
from app.shared.settings import BadSettings, Settings, read_settings

PROXY = ("10.0.0.7", 1234)


def seen(path: str, headers: dict[str, str], client: Any = PROXY, root_path: str = "") -> tuple[dict[str, Any], str]:
    """What the routes see, and the Location that the client is told."""
    found: dict[str, Any] = {}
    sent: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        found.update(scope)
        where = [(b"location", b"/v1/generations/x")]
        await send({"type": "http.response.start", "status": 202, "headers": where})

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "client": client, "headers": raw, "scheme": "http", "root_path": ""}
    asyncio.run(Forwarded(app, root_path, ["10.0.0.0/8", "::1/128"])(scope, None, send))  # type: ignore[arg-type]
    return found, dict(sent[0]["headers"])[b"location"].decode()


@pytest.mark.parametrize("path", ["/v1/models", "/draw/v1/models"])
@pytest.mark.parametrize("said", [{"x-forwarded-prefix": "/draw"}, {"x-forwarded-prefix": "/draw/"}, {}])
def test_a_prefix_is_known_whether_or_not_it_was_taken_off(path: str, said: dict[str, str]) -> None:
    scope, location = seen(path, said, root_path="" if said else "/draw")
    assert (scope["path"], scope["root_path"], path_here(scope)) == ("/draw/v1/models", "/draw", "/v1/models")
    assert location == "/draw/v1/generations/x"


def test_host_and_scheme_are_what_the_browser_asked() -> None:
    headers = {"host": "127.0.0.1:8000", "x-forwarded-host": "draw.example, inner", "x-forwarded-proto": "https,http"}
    scope, _ = seen("/", headers)
    assert (dict(scope["headers"])[b"host"], scope["scheme"]) == (b"draw.example", "https")


@pytest.mark.parametrize("client", [("203.0.113.9", 1), ("::2", 1), None, ("unix", 0), ("", 0)])
def test_a_stranger_is_not_believed(client: Any) -> None:
    told = {"host": "a", "x-forwarded-prefix": "/draw", "x-forwarded-host": "b", "x-forwarded-proto": "https"}
    scope, location = seen("/v1/models", told, client)
    assert (scope["path"], scope["root_path"], scope["scheme"]) == ("/v1/models", "", "http")
    assert dict(scope["headers"])[b"host"] == b"a" and location == "/v1/generations/x"


@pytest.mark.parametrize("client", [("::1", 1), ("::ffff:10.1.2.3", 1)])
def test_addresses_are_understood_in_every_writing(client: Any) -> None:
    assert seen("/", {"x-forwarded-prefix": "/draw"}, client)[0]["root_path"] == "/draw"


@pytest.mark.parametrize(
    "prefix", ["draw", "//evil.example", "/a b", "/../x", "/a/..", "http://x", "/%2e", "/a\r\nb: c", "/"]
)
def test_what_is_no_path_is_no_prefix(prefix: str) -> None:
    assert seen("/v1/models", {"x-forwarded-prefix": prefix})[0]["root_path"] == ""


@pytest.mark.parametrize("path", ["/drawing", "/dra", "/"])
def test_a_path_that_only_begins_like_the_prefix_is_another(path: str) -> None:
    assert path_here({"path": path, "root_path": "/draw"}) == path


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("ALLOWED_HOSTS", "Draw.example, *.b.example", ("draw.example", "*.b.example")),
        ("CORS_ORIGINS", "https://A.example:8443/", ("https://a.example:8443",)),
        ("TRUSTED_PROXIES", "10.0.0.7,fd00::/8", ("10.0.0.7/32", "fd00::/8")),
        ("ROOT_PATH", "/draw/", "/draw"),
    ],
)
def test_lists_are_words_between_commas(monkeypatch: pytest.MonkeyPatch, name: str, value: str, kept: object) -> None:
    monkeypatch.setenv(f"RADIATA_{name}", value)
    assert getattr(read_settings(), name.lower()) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ALLOWED_HOSTS", one) for one in ("http://a", "a:80", "a b", "*a")),
        *(("CORS_ORIGINS", one) for one in ("*", "a.example", "https://a/b", "null")),
        *(("TRUSTED_PROXIES", one) for one in ("proxy", "10.0.0.7/8", "*")),
        *(("ROOT_PATH", one) for one in ("draw", "/a/../b", "https://a/b", "/a b")),
    ],
)
def test_a_value_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"RADIATA_{name}", value)
    with pytest.raises(BadSettings, match=f"RADIATA_{name}"):
        read_settings()


def test_only_loopback_is_trusted_by_itself() -> None:
    assert Settings().trusted_proxies == ("127.0.0.0/8", "::1/128")  # type: ignore[call-arg]
