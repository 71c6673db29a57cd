"""The face of ComfyUI's API, proven with a client as it is installed, and with the recorded calls of another."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import websockets
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from comfy_api_simplified.exceptions import ComfyApiError
from PIL import Image
from redis import Redis

from app.faces.comfy import socket
from app.faces.comfy.nodes import NODES, SAMPLERS, SCHEDULERS
from app.http.server import Server
from app.main import create_app
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.shared.making import MODEL, profile, version

PAGE = Path(__file__).parents[3] / "docs" / "faces" / "comfy.md"
OBEYED = ("init_image", "denoise", "sigmas", "prompt_syntax", "fit", "output_format")


@contextmanager
def below(settings: Settings) -> Iterator[str]:
    """Serve the face at the root, as a proxy would for a client that drops the path of its address."""
    app = create_app(settings)

    async def face(scope: Any, receive: Any, send: Any) -> None:
        moved = {**scope, "path": f"/comfy{scope['path']}"} if scope["type"] != "lifespan" else scope
        await app(moved, receive, send)

    server = Server(uvicorn.Config(face, port=0, log_config=None, proxy_headers=False), app)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def url(storage: Storage, redis: Redis, settings: Settings) -> Iterator[str]:
    known = profile(
        obeys=dict.fromkeys(OBEYED, True), samplers=list(SAMPLERS.values()), adapter_kinds=["weights", "control"]
    )
    Profiles(storage, settings).publish(known, {"unet": {}})
    for name, components in (("style", ["unet", "text_encoder"]), ("ink", ["unet"])):
        Catalog(storage, redis).admit(version(name, name.encode(), components=components), {})
    Catalog(storage, redis).admit(version("edges", b"edges", kind="control", components=[]), {})
    with drawing(storage, redis, settings), below(settings) as address:
        yield address


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def graph(**changed: dict[str, Any]) -> dict[str, Any]:
    """ComfyUI's default workflow, with other inputs of some of its nodes."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "3": (
            "KSampler",
            {
                "seed": 5,
                "steps": 2,
                "cfg": 4.5,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        ),
        "4": ("CheckpointLoaderSimple", {"ckpt_name": f"{MODEL}.safetensors"}),
        "5": ("EmptyLatentImage", {"width": 64, "height": 32, "batch_size": 2}),
        "6": ("CLIPTextEncode", {"text": "a red apple", "clip": ["4", 1]}),
        "7": ("CLIPTextEncode", {"text": "blurred", "clip": ["4", 1]}),
        "8": ("VAEDecode", {"samples": ["3", 0], "vae": ["4", 2]}),
        "9": ("SaveImage", {"filename_prefix": "ComfyUI", "images": ["8", 0]}),
    }
    made = {
        node: {"class_type": kind, "inputs": inputs | changed.pop(f"n{node}", {}), "_meta": {"title": kind}}
        for node, (kind, inputs) in nodes.items()
    }
    return made | {name.removeprefix("n"): {"_meta": {"title": name}} | one for name, one in changed.items()}


def lora(kind: str, name: str, before: str, **strengths: float) -> dict[str, Any]:
    links = {"model": [before, 0]} | ({"clip": [before, 1]} if kind == "LoraLoader" else {})
    return {"class_type": kind, "inputs": {"lora_name": name, **strengths, **links}}


def draw(url: str, said: dict[str, Any]) -> dict[str, bytes]:
    return ComfyApiWrapper(url).queue_and_wait_images(ComfyWorkflowWrapper(said), "SaveImage")


def test_the_client_draws(url: str, ledger: Ledger) -> None:
    found = draw(url, graph())
    one = newest(ledger)
    assert list(found.values()) == [b"picture 0", b"picture 1"] and all(one.id in name for name in found)
    asked = one.request
    assert (asked.prompt, asked.negative_prompt, asked.model) == ("a red apple", "blurred", MODEL)
    assert (asked.width, asked.height, asked.count, asked.steps) == (64, 32, 2, 2)
    assert (asked.seed, asked.guidance_scale, asked.sampler, asked.sigmas) == (5, 4.5, "euler", None)


def test_two_loras_have_their_strengths_on_either_part(url: str, ledger: Ledger) -> None:
    """The second says nothing of the text encoder, which it does not change, and one is on the model alone."""
    chain = {
        "n10": lora("LoraLoader", "style.safetensors", "4", strength_model=0.8, strength_clip=0.5),
        "n11": lora("LoraLoader", "ink", "10", strength_model=0.3, strength_clip=1.0),
    }
    read = {"clip": ["11", 1]}
    draw(url, graph(n3={"model": ["11", 0]}, n6=read, n7=read, **chain))
    entries = newest(ledger).request.adapters
    assert [(one.name, one.strength, one.strengths) for one in entries] == [
        ("style", 0.8, {"text_encoder": 0.5}),
        ("ink", 0.3, {}),
    ]
    alone = {"n10": lora("LoraLoaderModelOnly", "style", "4", strength_model=0.7)}
    draw(url, graph(n3={"model": ["10", 0]}, **alone))
    (entry,) = newest(ledger).request.adapters
    assert (entry.strength, entry.strengths) == (0.7, {"text_encoder": 0.0})


def test_a_picture_is_drawn_anew(url: str, ledger: Ledger, storage: Storage) -> None:
    """So many steps as the graph says, of more, as `denoise` is counted there."""
    ref = Pictures(storage).put(Image.new("RGB", (64, 64), (9, 0, 0)), "").ref
    name = f"{ref.removeprefix('image:')}.png"
    nodes = {
        "n20": {"class_type": "LoadImage", "inputs": {"image": name, "upload": "image"}},
        "n21": {"class_type": "VAEEncode", "inputs": {"pixels": ["20", 0], "vae": ["4", 2]}},
    }
    sampler = {"latent_image": ["21", 0], "denoise": 0.5, "steps": 2}
    draw(url, graph(n3=sampler, **nodes))
    asked = newest(ledger).request
    assert (asked.init_image, asked.denoise, asked.steps, asked.drawn) == (ref, 0.5, 4, [2])
    assert ComfyApiWrapper(url).get_image(name, "", "input")[:4] == b"\x89PNG"


def test_control_nets_lead_for_their_part_of_the_steps(url: str, ledger: Ledger, storage: Storage) -> None:
    ref = Pictures(storage).put(Image.new("RGB", (64, 64), (9, 0, 0)), "").ref
    pair = {"positive": ["6", 0], "negative": ["7", 0], "control_net": ["30", 0], "image": ["20", 0]}
    nodes = {
        "n20": {"class_type": "LoadImage", "inputs": {"image": f"{ref.removeprefix('image:')}.png"}},
        "n30": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": "edges.safetensors"}},
        "n31": {
            "class_type": "ControlNetApplyAdvanced",
            "inputs": pair | {"strength": 0.6, "start_percent": 0.0, "end_percent": 0.5},
        },
        "n32": {
            "class_type": "ControlNetApply",
            "inputs": {"conditioning": ["31", 0], "control_net": ["30", 0], "image": ["20", 0], "strength": 0.3},
        },
    }
    draw(url, graph(n3={"positive": ["32", 0], "negative": ["31", 1]}, **nodes))
    asked = newest(ledger).request
    told = [(one.name, one.image, one.strength, one.schedule) for one in asked.adapters]
    assert told == [("edges", ref, 0.6, [(0.0, 0.6), (0.5, 0.0)]), ("edges", ref, 0.3, [])]
    crossed = graph(n3={"positive": ["31", 1], "negative": ["31", 0]}, **nodes)
    assert httpx.post(f"{url}/prompt", json={"prompt": crossed}).json()["error"]["type"] == "bad_linked_input"
    one_side = graph(n3={"positive": ["31", 0], "negative": ["7", 0]}, **nodes)
    assert httpx.post(f"{url}/prompt", json={"prompt": one_side}).json()["error"]["type"] == "bad_linked_input"


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("n3", {"sampler_name": "dpm_fast"}, "value_not_in_list", "sampler_name"),
    ("n3", {"scheduler": "sgm_uniform"}, "value_not_in_list", "scheduler"),
    ("n3", {"denoise": 0.5}, "not_obeyed", "denoise"),
    ("n3", {"steps": 9999}, "steps_over_limit", "steps"),
    ("n3", {"seed": 2**60}, "less_than_equal", "seed"),
    ("n3", {"model": ["5", 0]}, "bad_linked_input", "model"),
    ("n3", {"surprise": 1}, "invalid_input", "surprise"),
    ("n4", {"ckpt_name": "nobody.safetensors"}, "model_unknown", "ckpt_name"),
    ("n5", {"width": 63}, "multiple_of", "width"),
    ("n6", {"text": ["4", 0]}, "invalid_input_type", "text"),
    ("n6", {"text": "a embedding:pop"}, "not_obeyed", "text"),
]


@pytest.mark.parametrize(("node", "change", "code", "field"), REFUSED)
def test_what_cannot_be_honoured_is_refused_at_its_node(
    url: str, ledger: Ledger, node: str, change: dict[str, Any], code: str, field: str
) -> None:
    answer = httpx.post(f"{url}/prompt", json={"prompt": graph(**{node: change})})
    told = answer.json()
    assert answer.status_code == 400, told
    (error,) = told["node_errors"][node.removeprefix("n")]["errors"]
    assert (error["type"], error["details"]) == (code, field) and told["error"]["message"]
    with pytest.raises(ComfyApiError):
        ComfyApiWrapper(url).queue_prompt(graph(**{node: change}))
    assert ledger.list(1, None)[0] == []


def test_what_is_no_such_graph_names_what_it_is(url: str) -> None:
    def code(said: Any) -> str:
        return httpx.post(f"{url}/prompt", content=json.dumps({"prompt": said})).json()["error"]["type"]

    tomato = {"class_type": "TomatoSampler", "inputs": {}}
    answer = httpx.post(f"{url}/prompt", json={"prompt": graph(n77=tomato)}).json()
    assert "TomatoSampler" in answer["error"]["message"] and answer["error"]["type"] == "missing_node_type"
    unknown = {"n10": lora("LoraLoader", "nobody", "4"), "n3": {"model": ["10", 0]}}
    assert "10" in httpx.post(f"{url}/prompt", json={"prompt": graph(**unknown)}).json()["node_errors"]
    assert code({"nodes": [], "links": []}) == "workflow_format_ui" and code([]) == code({}) == "no_prompt"
    loop = graph(n10=lora("LoraLoader", "style", "11"), n11=lora("LoraLoader", "ink", "10"), n3={"model": ["10", 0]})
    assert code(loop) == "bad_linked_input"
    shown = graph()
    del shown["9"]
    assert code(shown) == "prompt_no_outputs"


def test_a_failure_and_a_cancel_reach_the_client(url: str, ledger: Ledger) -> None:
    client = ComfyApiWrapper(url)
    with pytest.raises(ComfyApiError, match="Execution error"):
        draw(url, graph(n6={"text": f"{FAILS}engine_error"}))
    status = client.get_history(newest(ledger).id)[newest(ledger).id]["status"]
    assert status["status_str"] == "error" and "it has failed" in json.dumps(status["messages"])
    one = client.queue_prompt(graph(n6={"text": WAITS}))["prompt_id"]
    assert client.get_queue_size_before(one) == 1 and client.get_history(one) == {}
    httpx.post(f"{url}/queue", json={"delete": [one]}).raise_for_status()
    assert newest(ledger).status is Status.CANCELED
    assert client.get_history(one)[one]["status"]["messages"][-1][0] == "execution_interrupted"
    two = client.queue_prompt(graph(n6={"text": WAITS}))["prompt_id"]
    ledger.start(two)
    client.interrupt()
    assert newest(ledger).status is Status.CANCELED


async def calls_of_open_webui(url: str, workflow: dict[str, Any]) -> tuple[list[dict[str, Any]], list[bytes], bytes]:
    """What its engine for ComfyUI sends, in its order: the socket first, then the prompt; then history and files."""
    said: list[dict[str, Any]] = []
    frames: list[bytes] = []
    headers = {"Authorization": "Bearer"}
    async with httpx.AsyncClient(headers=headers) as http:
        assert "CheckpointLoaderSimple" in (await http.get(f"{url}/object_info")).json()
        async with websockets.connect(f"{url.replace('http', 'ws')}/ws?clientId=abc", additional_headers=headers) as ws:
            body = {"prompt": workflow, "client_id": "abc", "extra_data": {"preview_method": "auto"}}
            prompt = (await http.post(f"{url}/prompt", json=body)).raise_for_status().json()["prompt_id"]
            while True:
                frame = await asyncio.wait_for(ws.recv(), 20)
                if isinstance(frame, bytes):
                    frames.append(frame)
                    continue
                said.append(json.loads(frame))
                if said[-1]["type"] == "executing" and said[-1]["data"]["node"] is None:
                    break
        history = (await http.get(f"{url}/history/{prompt}")).json()[prompt]
        (image, _) = history["outputs"]["9"]["images"]
        return said, frames, (await http.get(f"{url}/view", params=image)).content


def test_open_webuis_calls_are_answered(url: str) -> None:
    said, frames, picture = asyncio.run(calls_of_open_webui(url, graph(n3={"steps": 4})))
    kinds = [one["type"] for one in said]
    assert kinds[0] == "status" and picture == b"picture 0"
    assert [one for one in kinds if one.startswith("exec")] == [
        *("execution_start", "execution_cached", "executing", "executed", "execution_success", "executing")
    ]
    steps = [one["data"] for one in said if one["type"] == "progress"]
    assert steps and all(one["node"] == "3" and one["value"] <= one["max"] == 8 for one in steps)
    assert frames and all(one[:4] == b"\0\0\0\1" for one in frames), "they were asked for"


def test_an_id_of_the_clients_own_is_kept_and_is_of_one_prompt(url: str) -> None:
    own = "0d1c3a52-8f6e-4a0e-9d55-1f6d0e6b7a10"
    body = {"prompt": graph(), "prompt_id": own}
    for _ in range(2):
        assert httpx.post(f"{url}/prompt", json=body).json()["prompt_id"] == own
    other = httpx.post(f"{url}/prompt", json=body | {"prompt": graph(n3={"seed": 6})})
    assert other.status_code == 400 and other.json()["error"]["type"] == "idempotency_key_reused"
    assert httpx.post(f"{url}/prompt", json=body | {"prompt_id": "mine"}).status_code == 400


def test_a_page_of_another_site_opens_no_socket(url: str) -> None:
    async def opened(**headers: str) -> bool:
        try:
            async with websockets.connect(f"{url.replace('http', 'ws')}/ws", additional_headers=headers) as ws:
                return json.loads(await asyncio.wait_for(ws.recv(), 10))["type"] == "status"
        except websockets.exceptions.InvalidStatus as error:
            assert error.response.status_code in (403, 421)
            return False

    assert asyncio.run(opened())
    assert not asyncio.run(opened(Origin="https://evil.example"))


def test_one_owner_does_not_take_all_sockets(
    settings: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "MOST_OF_ONE", 1)
    ada, bob = ({"X-API-Key": Keyring(storage).add(("draw",), owner=one)[1]} for one in ("ada", "bob"))

    async def together(at: str) -> None:
        async with websockets.connect(at, additional_headers=ada) as first:
            await asyncio.wait_for(first.recv(), 10)
            async with websockets.connect(at, additional_headers=ada) as second:
                with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                    await asyncio.wait_for(second.recv(), 10)
                assert closed.value.rcvd is not None and closed.value.rcvd.code == socket.TRY_AGAIN
            async with websockets.connect(at, additional_headers=bob) as other:
                await asyncio.wait_for(other.recv(), 10)

    with below(settings) as url:
        asyncio.run(together(f"{url.replace('http', 'ws')}/ws"))


def test_this_machine_and_its_nodes_are_told(url: str) -> None:
    client = ComfyApiWrapper(url)
    nodes = client.get_object_info()
    assert nodes.keys() == NODES.keys()
    assert nodes["LoraLoader"]["input"]["required"]["lora_name"][0] == ["ink", "style"]
    assert client.get_object_info("KSampler").keys() == {"KSampler"}
    assert client.get_system_stats()["devices"] and client.get_embeddings() == []


def test_every_node_and_input_has_a_line_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert rows.keys() >= NODES.keys()
    for kind, node in NODES.items():
        assert set(node.values) <= set(re.findall(r"`(\w+)`", rows[kind])), kind
    assert all(f"`{one}`" in text for one in (*SAMPLERS, *SCHEDULERS))


def test_the_snippet_of_the_page_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    monkeypatch.chdir(tmp_path)
    exec(found[1].replace("http://127.0.0.1:8000", url).replace("fluent-3d-locon", "style"), {})
    assert (tmp_path / "apple.png").read_bytes() == b"picture 0"
