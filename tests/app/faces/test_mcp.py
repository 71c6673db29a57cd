"""The face of MCP, proven with the official client as it is installed, in both generations of the protocol."""

import asyncio
import base64
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import GenerationRequest, Status
from tests.app.conftest import serving
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.shared.making import MODEL, profile, version

PAGE = Path(__file__).parents[3] / "docs" / "faces" / "mcp.md"
PLAIN = {"prompt": "a red apple", "model": MODEL, "steps": 2}


@pytest.fixture
def url(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[str]:
    Profiles(storage, settings).publish(profile(obeys={"output_format": True, "quality": True}), {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode(), description=f"draws in {name}"), {})
    with drawing(storage, redis, settings):
        yield f"{str(api.base_url).rstrip('/')}/mcp"


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """How the client begins: by `server/discover`, or by `initialize`."""
    return request.param


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def within(url: str, mode: str, work: Callable[[Client], Awaitable[Any]], key: str = "") -> Any:
    """What some work answers with a client on it; key: that it shows."""

    async def connected() -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return asyncio.run(connected())


def called(url: str, mode: str, name: str, **arguments: Any) -> Any:
    return within(url, mode, lambda client: client.call_tool(name, arguments))


def test_both_generations_of_the_protocol_have_the_tools(url: str) -> None:
    seen: dict[str, list[str]] = {}

    async def look(client: Client) -> None:
        tools = (await client.list_tools()).tools
        seen[str(client.protocol_version)] = [one.name for one in tools]
        schema = next(one.input_schema for one in tools if one.name == "draw")
        assert schema["properties"].keys() == GenerationRequest.model_fields.keys()

    for mode in ("auto", "legacy"):
        within(url, mode, look)
    assert list(seen) == ["2026-07-28", "2025-11-25"]
    assert all(one == ["draw", "compare", "list_adapters", "inspect"] for one in seen.values())


def test_a_picture_is_drawn_told_of_and_read_again(url: str, mode: str, ledger: Ledger) -> None:
    told: list[tuple[float, float | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async def draw(client: Client) -> Any:
        adapters = [{"ref": "style", "strength": 0.8}, {"ref": "ink", "strength": 0.5}]
        arguments = PLAIN | {"steps": 5, "seed": 3, "count": 2, "adapters": adapters, "output_format": "webp"}
        found = await client.call_tool("draw", arguments, progress_callback=tell)
        links = [one for one in found.content if one.type == "resource_link"]
        files = [(await client.read_resource(one.uri)).contents[0] for one in links]
        listed = (await client.list_resources()).resources
        assert [one.uri for one in links] == [one.uri for one in listed]
        return found, files

    found, files = within(url, mode, draw)
    assert not found.is_error
    images = [one for one in found.content if one.type == "image"]
    assert [(base64.b64decode(one.data), one.mime_type) for one in images] == [
        (b"picture 0", "image/webp"),
        (b"picture 1", "image/webp"),
    ]
    assert [base64.b64decode(one.blob) for one in files] == [b"picture 0", b"picture 1"]
    assert "style at 0.8, ink at 0.5" in found.content[0].text
    (generation,) = ledger.list(2, None)[0]
    assert found.structured_content["id"] == generation.id
    assert (generation.request.seed, generation.request.count, generation.request.steps) == (3, 2, 5)
    assert told == sorted(told) and len(set(told)) > 2 and told[-1][1] == 10.0


def test_one_prompt_is_compared_under_several_adapters(url: str, mode: str, ledger: Ledger) -> None:
    found = called(url, mode, "compare", **PLAIN, adapters=[{"ref": "style", "strength": 0.8}, {"ref": "ink"}])
    drawn = [one["request"] for one in found.structured_content["generations"]]
    assert [[one["name"] for one in asked["adapters"]] for asked in drawn] == [[], ["style"], ["ink"]]
    assert len({asked["seed"] for asked in drawn}) == 1, "another seed is another picture"
    assert len(ledger.list(9, None)[0]) == 3
    assert [one.type for one in found.content] == ["text", "image", "resource_link"] * 3


def test_adapters_are_listed_and_inspected(url: str, mode: str) -> None:
    found = called(url, mode, "list_adapters", words="INK", model=MODEL)
    assert [one["name"] for one in found.structured_content["adapters"]] == ["ink"]
    assert "draws in ink" in found.content[0].text
    assert called(url, mode, "list_adapters", limit=1).structured_content["more"] == 1
    found = called(url, mode, "inspect", ref="style")
    assert (found.structured_content["name"], found.structured_content["versions"]) == ("style", [1])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("draw", PLAIN | {"adapters": [{"ref": "nobody"}]}, "nobody"),
    ("draw", PLAIN | {"width": 63}, "width"),
    ("draw", PLAIN | {"surprise": 1}, "surprise"),
    ("draw", {}, "prompt"),
    ("draw", PLAIN | {"model": "gpt-image-1"}, "gpt-image-1"),
    ("draw", PLAIN | {"prompt": f"{FAILS}out_of_memory"}, "it has failed"),
    ("compare", PLAIN | {"adapters": []}, "adapters"),
    ("compare", PLAIN | {"adapters": [{"ref": "style"}, {"ref": "nobody"}]}, "nobody"),
    ("inspect", {"ref": "nobody"}, "nobody"),
    ("list_adapters", {"model": "nobody"}, "nobody"),
    ("paint", {}, "draw"),
]


def test_what_cannot_be_honoured_is_an_error_with_a_sentence(url: str, mode: str) -> None:
    async def try_all(client: Any) -> None:
        for name, arguments, word in REFUSED:
            found = await client.call_tool(name, arguments)
            assert found.is_error, (name, arguments)
            sentence = found.content[0].text
            assert word in sentence and len(sentence) > 12, (name, arguments, sentence)
        for uri in ("radiata://images/../keys", f"radiata://images/{'0' * 32}/0.png", "file:///etc/passwd"):
            with pytest.raises(MCPError, match=r"picture|generation"):
                await client.read_resource(uri)

    within(url, mode, try_all)


def test_who_closes_a_call_has_it_canceled(url: str, mode: str, ledger: Ledger) -> None:
    async def impatient(client: Client) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.call_tool("draw", PLAIN | {"prompt": WAITS})
        until = time.monotonic() + 15
        while ledger.list(1, None)[0][0].status is not Status.CANCELED:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)

    within(url, mode, impatient)


def test_what_somebody_else_cancels_is_told(url: str, mode: str, ledger: Ledger) -> None:
    async def wait(client: Client) -> Any:
        call = asyncio.create_task(client.call_tool("draw", PLAIN | {"prompt": WAITS}))
        while not (found := ledger.list(1, None)[0]):
            await asyncio.sleep(0.05)
        ledger.cancel(found[0].id)
        return await call

    found = within(url, mode, wait)
    assert found.is_error and "canceled" in found.content[0].text


def test_keys_and_owners_hold(url: str, mode: str, storage: Storage, settings: Settings) -> None:
    keyring = Keyring(storage)
    first, bob = (keyring.add(["draw"], owner=name)[1] for name in ("", "bob"))  # the stand-in draws the first's alone
    looker = keyring.add(["upload"])[1]
    with serving(settings) as fresh:  # which has not read the keys before
        url = f"{str(fresh.base_url).rstrip('/')}/mcp"
        found = within(url, mode, lambda client: client.call_tool("draw", PLAIN), first)
        assert not found.is_error, found.content
        link = next(one.uri for one in found.content if one.type == "resource_link")

        async def another(client: Client) -> None:
            assert not (await client.list_resources()).resources
            with pytest.raises(MCPError):
                await client.read_resource(link)

        within(url, mode, another, bob)
        refused = within(url, mode, lambda client: client.call_tool("draw", PLAIN), looker)
        assert refused.is_error and "scope draw" in refused.content[0].text
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert fresh.post("/mcp", json=body).status_code == 401


def test_who_follows_a_drawing_has_one_of_the_places_of_streams(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not called(url, "auto", "draw", **PLAIN).is_error
    monkeypatch.setattr("app.routes.events.MOST_STREAMS", 0)
    found = called(url, "auto", "draw", **PLAIN)
    assert found.is_error and "streams" in found.content[0].text
    assert not called(url, "auto", "inspect", ref="style").is_error


def test_pages_of_other_sites_and_unknown_hosts_are_refused(url: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert httpx.post(url, json=body, headers={"Origin": "https://example.org"}).status_code == 403
    assert httpx.post(url, json=body, headers={"Host": "example.org"}).status_code == 421


def test_without_the_package_the_answer_is_a_sentence(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.faces.mcp.server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    answer = api.post("/mcp", json={})
    assert answer.status_code == 501 and "pip install" in answer.json()["detail"]


def test_the_snippet_of_the_page_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    monkeypatch.chdir(tmp_path)
    exec(found[1].replace("http://127.0.0.1:8000/mcp", url).replace("fluent-3d-locon", "style"), {})
    assert (tmp_path / "apple.png").read_bytes() == b"picture 0"


def test_a_body_over_the_cap_is_refused(url: str) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(60):
            yield b" " * (1 << 20)

    assert httpx.post(url, content=body(), headers={"Content-Type": "application/json"}).status_code == 413
