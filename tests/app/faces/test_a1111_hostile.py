"""The face of A1111's API where it is pressed: what is no request, a full queue, and callers who look for another's."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from app.shared.wire.key import SCOPES, KeyLimits
from tests.app.faces.drawing import WAITS, drawing, picture
from tests.app.shared.making import profile, version

OBEYED = ("prompt_syntax", "upscale", "output_format", "clip_skip")
PLAIN = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "cfg_scale": 3}
_file = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(_file, "png")
SQUARE = base64.b64encode(_file.getvalue()).decode()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_queued": 1, "upload_wait_s": 15})


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def drawn(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[None]:
    known = profile(obeys=dict.fromkeys(OBEYED, True), max_clip_skip=4, max_edge=256)
    Profiles(storage, settings).publish(known, {"unet": {}})
    Catalog(storage, redis).admit(version("style", b"style"), {})
    Catalog(storage, redis).admit(version("edges", b"edges", kind="control", components=[]), {})
    with drawing(storage, redis, settings, picture):
        yield


def unit(**settings: Any) -> dict[str, Any]:
    made = {"image": SQUARE, "model": "edges", "module": "canny", **settings}
    return {"alwayson_scripts": {"controlnet": {"args": [made]}}}


def send(api: httpx.Client, path: str, body: dict[str, Any], **more: Any) -> httpx.Response:
    text = json.dumps(body).replace("Infinity", "1e999")  # which JSON has, and no float
    return api.post(path, content=text, headers={"content-type": "application/json"} | more, timeout=60)


UNIT = "alwayson_scripts/controlnet/args/0"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"override_settings": {"samples_format": ["png"]}}, "override_settings/samples_format"),
    ({"override_settings": {"samples_format": {}}}, "override_settings/samples_format"),
    ({"enable_hr": True, "hr_resize_x": 10**400, "hr_resize_y": 10**400}, "hr_resize_x"),
    ({"enable_hr": True, "hr_resize_x": 128, "hr_resize_y": 129}, "hr_resize_x"),
    *(({"prompt": f"a {tag}"}, "prompt") for tag in ("<lora:>", "<lora:style:1", f"<LyCO:{'x' * 600}:1>")),
    ({"prompt": r"a \\[cat]"}, "prompt"),
    *((unit(guidance_end=one), f"{UNIT}/guidance_end") for one in ("0.5", [], True, 7, -1, float("inf"))),
    *((unit(guidance_start=one), f"{UNIT}/guidance_start") for one in ("0.5", {}, -1)),
    (unit(guidance_start=0.7, guidance_end=0.2), f"{UNIT}/guidance_start"),
    *((unit(weight=one), f"{UNIT}/weight") for one in ("1", [], 99)),
    *(
        (unit(threshold_a=weak, threshold_b=strong), f"{UNIT}/threshold_a")
        for weak, strong in (("x", 3), (-1, 100), (1.5, 100), (200, 100), (1, 9999), (0, float("inf")), ([], 1))
    ),
    (unit(image={"image": SQUARE, "mask": SQUARE}), f"{UNIT}/image"),
    (unit(image=""), f"{UNIT}/image"),
    *((unit(enabled=one), f"{UNIT}/enabled") for one in (0, None, "no")),
    (unit(model="nobody"), f"{UNIT}/model"),
    ({"prompt": "a <lora:style:1>", **unit(module="depth")}, f"{UNIT}/module"),
    ({"prompt": "a <lora:style:99>", **unit()}, "prompt"),
]


@pytest.mark.parametrize(("fields", "place"), REFUSED)
def test_what_is_no_request_is_refused_at_its_place(
    api: httpx.Client, drawn: None, fields: dict[str, Any], place: str
) -> None:
    answer = send(api, "/sdapi/v1/txt2img", PLAIN | fields)
    assert 400 <= answer.status_code < 500 and answer.json()["errors"].startswith(f"{place}: "), answer.text


@pytest.mark.parametrize(
    ("fields", "obeyed"),
    [
        ({"prompt": r"a \(cat\) \[x\]"}, {"prompt": "a (cat) [x]", "prompt_syntax": "plain"}),
        ({"prompt": r"a (\(cat\)) \[x\]"}, {"prompt": r"a (\(cat\)) [x]", "prompt_syntax": "weighted"}),
        ({"enable_hr": True, "hr_resize_x": 128}, {"upscale": {"scale": 2.0, "denoise": 0.7, "method": "latent"}}),
    ],
)
def test_what_is_asked_for_is_obeyed(
    api: httpx.Client, drawn: None, ledger: Ledger, fields: dict[str, Any], obeyed: dict[str, Any]
) -> None:
    assert send(api, "/sdapi/v1/txt2img", PLAIN | fields).status_code == 200
    assert obeyed.items() <= newest(ledger).request.model_dump().items()


def test_a_control_net_and_an_adapter_draw_together(api: httpx.Client, drawn: None, ledger: Ledger) -> None:
    said = unit(weight=0.7, guidance_start=0.2, guidance_end=None, threshold_a=50, threshold_b=150)
    assert send(api, "/sdapi/v1/txt2img", {**PLAIN, "prompt": "a cat <lora:style:0.5>", **said}).status_code == 200
    style, net = newest(ledger).request.adapters
    assert (style.name, style.strength) == ("style", 0.5)
    assert (net.name, net.preprocess, net.thresholds) == ("edges", "canny", (50, 150))
    assert net.schedule == [(0, 0), (0.2, 0.7)] and net.image


@pytest.mark.parametrize("weak", [float("inf"), 1e300, 9999, 1.5, 200, -1])
def test_thresholds_of_a_map_are_judged(api: httpx.Client, drawn: None, weak: float) -> None:
    asked = {"controlnet_module": "canny", "controlnet_input_images": [SQUARE]}
    answer = send(api, "/controlnet/detect", asked | {"controlnet_threshold_a": weak, "controlnet_threshold_b": 100})
    assert answer.status_code == 422 and answer.json()["errors"].startswith("controlnet_threshold_a: ")
    assert "pictures" in send(api, "/controlnet/detect", {"controlnet_module": "canny"}).json()["detail"]


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def begun(api: httpx.Client, ledger: Ledger, **headers: str) -> threading.Thread:
    """A drawing that nobody draws, once it waits."""
    thread = threading.Thread(target=lambda: send(api, "/sdapi/v1/txt2img", PLAIN | {"prompt": WAITS}, **headers))
    thread.start()
    end = time.monotonic() + 15
    while not [one for one in ledger.list(1, None)[0] if one.status is Status.QUEUED]:
        assert time.monotonic() < end
        time.sleep(0.05)
    return thread


def test_a_full_queue_is_told_with_when_to_ask_again(api: httpx.Client, drawn: None, ledger: Ledger) -> None:
    waiting = begun(api, ledger)
    answer = send(api, "/sdapi/v1/txt2img", PLAIN)
    assert answer.status_code == 503 and answer.json()["error"] == "queue_full" and "retry-after" in answer.headers
    assert answer.json().keys() == {"error", "detail", "body", "errors"}
    api.post("/sdapi/v1/interrupt")
    waiting.join(15)
    assert newest(ledger).status is Status.CANCELED


def test_nobody_sees_or_ends_what_another_draws(
    api: httpx.Client, drawn: None, storage: Storage, redis: Redis, settings: Settings
) -> None:
    keyring, limits = Keyring(storage), KeyLimits(generations=1)
    keys = [keyring.add({"draw"}, owner=name, limits=limits)[1] for name in ("ada", "eve")]
    keys.append(keyring.add(SCOPES, owner="root")[1])
    ada, eve, operator = ({"authorization": f"Bearer {key}"} for key in keys)
    time.sleep(2.5)  # until they count
    ledger = Ledger(storage, redis, settings, "ada")
    waiting = begun(api, ledger, **ada)
    over = send(api, "/sdapi/v1/txt2img", PLAIN, **ada)
    assert over.status_code == 429 and over.json()["detail"] and "retry-after" in over.headers
    for other in (eve, operator):
        found = api.get("/sdapi/v1/progress", headers=other).json()
        assert found["current_task"] is None and found["state"]["job_count"] == 0
        assert api.get("/sdapi/v1/progress", params={"id_task": newest(ledger).id}, headers=other).json() == found
        for path in ("interrupt", "skip"):
            assert api.post(f"/sdapi/v1/{path}", headers=other).status_code == 200
        assert newest(ledger).status is Status.QUEUED
    assert api.get("/sdapi/v1/progress", headers=ada).json()["state"]["job_count"] == 1
    api.post("/sdapi/v1/interrupt", headers=ada)
    waiting.join(15)
    assert newest(ledger).status is Status.CANCELED
