"""Pages of other sites change nothing; our own, named origins, and what is no browser do."""

import httpx
import pytest
from starlette.datastructures import Headers

from app.main import create_app
from app.middleware.origins import is_own
from app.shared.settings import Settings
from app.shared.storage import Storage

HERE = "draw.example:8000"
FRIEND = "https://friend.example"
OWN = [
    {},
    {"origin": f"http://{HERE}"},
    {"origin": f"http://{HERE.upper()}"},
    {"origin": "http://whatever", "sec-fetch-site": "same-origin"},  # behind a proxy that hides the name
    {"sec-fetch-site": "none"},
    {"origin": FRIEND, "sec-fetch-site": "cross-site"},
]
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://draw.example"},
    {"origin": "http://draw.example:80"},
    {"origin": f"http://x.{HERE}"},
    {"origin": f"ftp://{HERE}"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://["},
    {"origin": "http://draw.example:99999999"},
    {"origin": f"{FRIEND}.evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "nonsense"},
    {"origin": f"http://{HERE}", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize(("headers", "own"), [*((one, True) for one in OWN), *((one, False) for one in FOREIGN)])
def test_what_is_ours_and_what_is_not(headers: dict[str, str], own: bool) -> None:
    assert is_own(Headers({"host": HERE} | headers), [FRIEND]) == own


def test_default_ports_are_as_none() -> None:
    assert is_own(Headers({"host": "draw.example", "origin": "https://draw.example:443"}), [])
    assert is_own(Headers({"host": "draw.example:443", "origin": "https://draw.example"}), [])


def test_an_origin_that_is_sent_twice_is_nobodys() -> None:
    raw = [(b"host", HERE.encode()), (b"origin", FRIEND.encode()), (b"origin", b"https://evil.example")]
    assert not is_own(Headers(raw=raw), [FRIEND])


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_sites_page_reads_what_a_browser_lets_it_and_changes_nothing(
    api: httpx.Client, storage: Storage, headers: dict[str, str]
) -> None:
    for method, path in [("POST", "/v1/adapters"), ("POST", "/v1/generations"), ("DELETE", "/v1/adapters/a")]:
        answer = api.request(method, path, headers=headers | {"Content-Type": "text/plain"}, content=b'{"prompt": "a"}')
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert list(storage.keys("pending")) == list(storage.keys("uploads")) == []
    answer = api.get("/v1/models", headers=headers)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


async def _ask(settings: Settings, method: str, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, "/healthz", headers=headers)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_named_origin_is_let_in_and_no_other(settings: Settings) -> None:
    named = settings.model_copy(update={"cors_origins": (FRIEND,)})
    for origin, let_in in [(FRIEND, True), ("https://evil.example", False)]:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await _ask(named, "OPTIONS", asked)
        assert (preflight.headers.get("access-control-allow-origin") == origin) == let_in
        assert (preflight.status_code == 200) == let_in
        answer = await _ask(named, "GET", {"Origin": origin})
        assert (answer.headers.get("access-control-allow-origin") == origin) == let_in
