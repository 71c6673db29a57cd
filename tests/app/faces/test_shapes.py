"""How each API tells what is wrong, whoever answers: the guard, the router, the cap of bodies, the moderation hook."""

import json
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from redis import Redis

from app.middleware.body_cap import JSON_CAP
from app.middleware.face_errors import FACES
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.conftest import serving
from tests.app.faces.test_comfy import OBEYED, graph
from tests.app.shared.making import MODEL, profile

PROMPT = "a red apple"
A1111 = {"prompt": PROMPT, "width": 64, "height": 64}
V2 = {"workflow": graph()}
# Of each API: where it draws, the body, where its sentence stands, and the status of what cannot be honoured
DRAWS: dict[str, tuple[str, dict[str, Any], Callable[[Any], str], int]] = {
    "/comfy/api/v2/": ("/comfy/api/v2/jobs", V2, lambda told: told["error"]["message"], 422),
    "/comfy/": ("/comfy/prompt", {"prompt": graph()}, lambda told: told["error"]["message"], 400),
    "/openai/": ("/openai/v1/images/generations", {"prompt": PROMPT}, lambda told: told["error"]["message"], 400),
    "/hf": ("/hf", {"inputs": PROMPT}, lambda told: told["error"], 400),
    "/sdapi/": ("/sdapi/v1/txt2img", A1111, lambda told: told["detail"], 422),
    "/fal/": (f"/fal/run/radiata/{MODEL}", {"prompt": PROMPT}, lambda told: told["detail"], 422),
    "/replicate/": (
        f"/replicate/v1/models/radiata/{MODEL}/predictions",
        {"input": {"prompt": PROMPT}},
        lambda told: told["detail"],
        422,
    ),
}
LEFT_OUT = {"/controlnet/": "draws nothing, and has the shape of /sdapi/"}
KEYED = {"Idempotency-Key": "mine"}  # which ComfyUI's second API asks for


def refuse(asked: Any) -> str | None:
    """A moderation hook."""
    return "no apples here" if asked["type"] == "request" else None


def declared(api: httpx.Client, path: str, length: int) -> tuple[int, Any]:
    """What is answered to the headers alone of so long a body."""
    http = HTTPConnection(api.base_url.host, api.base_url.port or 0, timeout=10)
    http.putrequest("POST", path)
    for name, said in {**KEYED, "Content-Type": "application/json", "Content-Length": str(length)}.items():
        http.putheader(name, said)
    http.endheaders()
    answer = http.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        http.close()


def test_every_api_is_here() -> None:
    assert {one.prefix for one in FACES} == DRAWS.keys() | LEFT_OUT.keys()


@pytest.mark.parametrize("prefix", DRAWS)
def test_each_tells_it_in_its_own_shape(prefix: str, storage: Storage, redis: Redis, settings: Settings) -> None:
    known = profile(obeys=dict.fromkeys(OBEYED, True), samplers=["euler", "ddim"])
    Profiles(storage, settings).publish(known, {"unet": {}})
    path, body, said, unfit = DRAWS[prefix]
    moderated = settings.model_copy(update={"moderation": f"{__name__}:refuse"})
    with serving(moderated) as api:
        answer = api.post(path, json=body, headers=KEYED)
        assert (answer.status_code, said(answer.json())) == (unfit, "no apples here")
        status, told = declared(api, path, 1 << 40)
        assert status == 413 and "MiB" in said(told)
        nowhere = api.get(f"{prefix.rstrip('/')}/models/nobody/nothing/at/all" if prefix != "/hf" else "/hf/nothing")
        assert nowhere.status_code == 404 and said(nowhere.json())
    Keyring(storage).add(("draw",), owner="ada")
    with serving(settings) as api:
        answer = api.post(path, json=body, headers=KEYED)
        assert answer.status_code == 401 and "key" in said(answer.json())
    key = Keyring(storage).add(("upload",), owner="ada")[1]
    with serving(settings) as api:
        answer = api.post(path, json=body, headers={**KEYED, "Authorization": f"Bearer {key}"})
        assert answer.status_code == 403 and "scope draw" in said(answer.json())


def test_pictures_of_the_largest_size_come_in_to_whatever_takes_them_as_base64(api: httpx.Client) -> None:
    text = "x" * (2 * JSON_CAP)
    for path, body in {
        "/sdapi/v1/img2img": {"prompt": PROMPT, "init_images": [text]},
        "/controlnet/detect": {"controlnet_module": "none", "controlnet_input_images": [text]},
        "/hf": {"inputs": text, "parameters": {"prompt": PROMPT}},
        f"/fal/run/radiata/{MODEL}": {"prompt": PROMPT, "image_url": text},
        f"/replicate/v1/models/radiata/{MODEL}/predictions": {"input": {"prompt": PROMPT, "image": text}},
    }.items():
        answer = api.post(path, json=body)
        assert answer.status_code not in (413, 500), (path, answer.status_code, answer.text[:200])
