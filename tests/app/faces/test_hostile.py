"""What clients of other APIs may send to do harm: graphs, sockets, streams, pictures and lists of any size."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets
from redis import Redis

from app.faces.comfy import socket
from app.faces.comfy.nodes import SAMPLERS
from app.faces.pictures import kind_of
from app.routes import events
from app.shared.errors import Unavailable
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from tests.app.conftest import serving
from tests.app.faces.test_comfy import OBEYED, graph
from tests.app.shared.making import MODEL, profile, request

PICTURE = {
    "n10": {"class_type": "LoadImage", "inputs": {"image": f"{'a' * 64}.png"}},
    "n11": {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}},
}
DRAWN_OVER = {"latent_image": ["11", 0]}
HUGE = 10**400
NET = {"positive": ["20", 0], "negative": ["20", 1], "control_net": ["21", 0], "image": ["10", 0]}
LEADS_ITSELF = {
    "n20": {"class_type": "ControlNetApplyAdvanced", "inputs": NET},
    "n21": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": "edges"}},
}
GRAPHS = {
    "a denoise too small to divide by": graph(n3=DRAWN_OVER | {"denoise": 5e-324}, **PICTURE),
    "a denoise that is no float": graph(n3=DRAWN_OVER | {"denoise": HUGE}, **PICTURE),
    "steps that are no float": graph(n3=DRAWN_OVER | {"denoise": 0.5, "steps": HUGE}, **PICTURE),
    "a seed that is no float": graph(n3={"seed": HUGE}),
    "a place beyond all": graph(n3={"model": ["4", HUGE]}),
    "a link to nowhere": graph(n3={"model": ["44", 0]}),
    "a link deeper than Python goes": graph(n3={"model": [json.loads("[" * 900 + "]" * 900), 0]}),
    "a sampler of its own latents": graph(n3={"latent_image": ["3", 0]}),
    "a net that leads itself": graph(n3={"positive": ["20", 0], "negative": ["20", 1]}, **LEADS_ITSELF, **PICTURE),
    "100,000 nodes": {str(one): {} for one in range(100_000)},
    "no node": {"1": [1]},
    "a list of inputs": {"1": {"class_type": "SaveImage", "inputs": [1]}},
    "a sentence for inputs": {"1": {"class_type": "SaveImage", "inputs": "none"}},
    "names of any length": graph(n3={"sampler_name": "x" * 100_000, "scheduler": "y" * 100_000}),
    "a scheduler of any length": graph(n3={"scheduler": "y" * 100_000}),
}


@pytest.fixture
def api(storage: Storage, settings: Settings) -> Iterator[httpx.Client]:
    known = profile(obeys=dict.fromkeys(OBEYED, True), samplers=list(SAMPLERS.values()))
    Profiles(storage, settings).publish(known, {"unet": {}})
    with serving(settings) as client:
        yield client


@pytest.mark.parametrize(("path", "field"), [("prompt", "prompt"), ("api/v2/jobs", "workflow")])
def test_a_hostile_graph_is_refused_in_few_words(api: httpx.Client, path: str, field: str) -> None:
    for name, said in GRAPHS.items():
        body = json.dumps({field: said})
        answer = api.post(f"/comfy/{path}", content=body, headers={"Idempotency-Key": name, **JSON})
        assert answer.status_code in (400, 413, 422), (name, answer.text)
        assert answer.json()["error"]["message"] and len(answer.content) < 3000, name


JSON = {"Content-Type": "application/json"}
STREAMS = (
    ("GET", "/comfy/api/v2/jobs/{}/events", None),
    ("GET", "/replicate/v1/predictions/{}/stream", None),
    ("GET", f"/fal/queue/radiata/{MODEL}/requests/{{}}/status/stream", None),
    ("POST", f"/fal/run/radiata/{MODEL}/stream", {"prompt": "a red apple"}),
    ("POST", "/openai/v1/images/generations", {"prompt": "a red apple", "stream": True}),
)


def test_streams_of_every_api_are_counted(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(storage, redis, settings)
    one = ledger.accept(request()).id
    monkeypatch.setattr(events, "MOST_STREAMS", 0)
    for method, path, body in STREAMS:
        answer = api.request(method, path.format(one), json=body)
        assert answer.status_code == 503 and "streams" in answer.text, (path, answer.text)
    assert [found.id for found in ledger.list(9, None)[0]] == [one], "nothing was accepted that nobody can follow"


def address(api: httpx.Client) -> str:
    return f"{str(api.base_url).rstrip('/').replace('http', 'ws')}/comfy/ws?clientId=abc"


def test_sockets_are_counted_and_few_of_them_are_one_owners(
    api: httpx.Client, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "MOST", 3)
    monkeypatch.setattr(socket, "MOST_OF_ONE", 2)
    keys = {owner: Keyring(storage).add(("draw",), owner=owner)[1] for owner in ("ada", "bob", "eve")}
    time.sleep(2.1)  # an API's copy of the keys

    async def opened(owner: str) -> tuple[Any, str]:
        ws = await websockets.connect(address(api), additional_headers={"Authorization": f"Bearer {keys[owner]}"})
        try:
            return ws, json.loads(await asyncio.wait_for(ws.recv(), 10))["type"]
        except websockets.ConnectionClosed as error:
            return ws, str(error.rcvd and error.rcvd.code)

    async def all_of_them() -> list[str]:
        held = [await opened(owner) for owner in ("ada", "ada", "ada", "bob", "eve")]
        await held[0][0].close()
        for _ in range(50):
            again = await opened("eve")
            held.append(again)
            if again[1] == "status":
                break
            await asyncio.sleep(0.1)
        for ws, _ in held:
            await ws.close()
        return [told for _, told in [*held[:5], held[-1]]]

    assert asyncio.run(all_of_them()) == ["status", "status", "1013", "status", "1013", "status"]


def test_a_socket_that_can_tell_no_more_is_closed(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed() -> int | None:
        async with websockets.connect(address(api)) as ws:
            assert json.loads(await ws.recv())["type"] == "status"
            await ws.send("nothing that is read")
            await ws.send(b"\0" * 100_000)

            async def lost(*_: Any) -> Any:
                raise Unavailable("queue_unavailable", "Redis is away")

            monkeypatch.setattr(socket, "_follow", lost)
            body = {"prompt": graph(), "client_id": "abc"}
            assert (await asyncio.to_thread(api.post, "/comfy/prompt", json=body)).status_code == 200
            with pytest.raises(websockets.ConnectionClosed) as ended:
                while True:
                    await asyncio.wait_for(ws.recv(), 10)
            return ended.value.rcvd and ended.value.rcvd.code

    assert asyncio.run(closed()) == 1013


def test_a_socket_tells_of_what_came_among_many_others(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again after a moment, in which others may have asked for more than stands on a page."""
    monkeypatch.setattr(socket, "NEWEST", 2)
    monkeypatch.setattr(socket, "LOOK_S", 1.0)

    def ask(client: str) -> str:
        return api.post("/comfy/prompt", json={"prompt": graph(), "client_id": client}).json()["prompt_id"]

    async def told() -> tuple[str, str]:
        async with websockets.connect(address(api)) as ws:
            await ws.recv()
            mine, *_ = [await asyncio.to_thread(ask, client) for client in ("abc", *["others"] * 4)]
            Ledger(storage, redis, settings).cancel(mine)
            while True:
                said = json.loads(await asyncio.wait_for(ws.recv(), 10))
                if said["type"] == "execution_interrupted":
                    return mine, said["data"]["prompt_id"]

    mine, interrupted = asyncio.run(told())
    assert mine == interrupted


def test_all_that_waits_is_cleared_however_much(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.faces.comfy.routes.LISTED", 2)
    ids = [api.post("/comfy/prompt", json={"prompt": graph()}).json()["prompt_id"] for _ in range(6)]
    assert api.post("/comfy/queue", json={"delete": [ids[0]]}).status_code == 200
    ledger = Ledger(storage, redis, settings)
    assert ledger.get(ids[0]).status is Status.CANCELED
    assert api.post("/comfy/queue", json={"clear": True}).status_code == 200
    assert {ledger.get(one).status for one in ids} == {Status.CANCELED}


def test_text_that_is_no_picture_is_told_from_one_in_one_pass() -> None:
    begun = time.perf_counter()
    assert kind_of(f"iVBORw0KGgo{' ' * 1_000_000}!") is None
    assert kind_of(f"iVBORw0KGgo{'=' * 1_000_000}") is None
    assert kind_of("iVBORw0KGgo+/A= \n") == kind_of("iVBORw0KGgo \n") == "png"
    assert time.perf_counter() - begun < 5
