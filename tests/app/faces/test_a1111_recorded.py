"""Calls of programs that draw with A1111's API, as they were recorded, on our face of it."""

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.faces.drawing import drawing, picture
from tests.app.shared.making import MODEL, profile, version

API = "/sdapi/v1"
OBEYED = ("init_image", "denoise", "mask_image", "mask_blur", "fit", "inpaint_area", "inpaint_padding", "output_format")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With time for pictures to be decoded."""
    return settings.model_copy(update={"upload_wait_s": 15})


@pytest.fixture(autouse=True)
def served(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Any:
    known = profile(
        obeys=dict.fromkeys(OBEYED, True), samplers=["ddim", "euler", "euler_a"], max_edge=512, inpaint="held"
    )
    Profiles(storage, settings).publish(known, {"unet": {}})
    Catalog(storage, redis).admit(version("style", b"style"), {})
    with drawing(storage, redis, settings, picture):
        yield


def base64_of(colour: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def drawn(api: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = api.post(f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert all(Image.open(io.BytesIO(base64.b64decode(one))) for one in said["images"])
    return said


def test_open_webui(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> None:
    api.headers["authorization"] = ""
    options = api.get(f"{API}/options").json()
    titles = [one["title"] for one in api.get(f"{API}/sd-models").json()]
    assert options["sd_model_checkpoint"] in titles
    assert api.post(f"{API}/options", json=options | {"sd_model_checkpoint": titles[0]}).status_code == 200
    body = {"prompt": "a cat", "batch_size": 2, "width": 512, "height": 512, "steps": 2, "negative_prompt": "ugly"}
    older = {"cfg_scale": 3.0, "sampler_name": "Euler a", "scheduler": "Automatic"}
    assert len(drawn(api, "txt2img", body)["images"]) == 2
    drawn(api, "txt2img", body | older)
    request = Ledger(storage, redis, settings).list(1, None)[0][0].request
    assert (request.model, request.sampler, request.width) == (MODEL, "euler_a", 512)


def test_krita(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> None:
    for path in (
        *("options", "samplers", "upscalers", "sd-models", "face-restorers", "prompt-styles", "sd-vae", "scripts"),
        *("loras", "embeddings", "hypernetworks", "progress"),
    ):
        assert api.get(f"{API}/{path}").status_code == 200, path
    for path in ("version", "model_list?update=true", "module_list?alias_names=true", "control_types", "settings"):
        assert api.get(f"/controlnet/{path}").status_code == 200, path
    assert api.post(f"{API}/interrupt", json={}).status_code == 200
    body = {
        "prompt": "a cat <lora:style:0.8>",
        "negative_prompt": "",
        "styles": [],
        "width": 64,
        "height": 64,
        "cfg_scale": 3,
        "steps": 2,
        "sampler_name": "Euler a",
        "seed": -1,
        "subseed": -1,
        "subseed_strength": 0,
        "n_iter": 1,
        "batch_size": 1,
        "enable_hr": False,
        "denoising_strength": 0.6,
        "override_settings": {"sd_model_checkpoint": api.get(f"{API}/options").json()["sd_model_checkpoint"]},
        "override_settings_restore_afterwards": False,
        "save_images": False,
        "alwayson_scripts": {"controlnet": {"args": []}, "ADetailer": {"args": [False]}},
    }
    body["override_settings"] |= {"sd_vae": "None", "img2img_color_correction": False}
    drawn(api, "txt2img", body)
    inpainted = {
        "init_images": [f"data:image/png;base64,{base64_of('red')}"],
        "mask": f"data:image/png;base64,{base64_of('white')}",
        "mask_blur": 0,
        "inpainting_mask_invert": 0,
        "inpainting_fill": 1,
        "inpaint_full_res": False,
        "inpaint_full_res_padding": 0,
    }
    drawn(api, "img2img", body | inpainted)
    request = Ledger(storage, redis, settings).list(1, None)[0][0].request
    assert request.adapters[0].name == "style" and request.mask_image and request.inpaint_area == "whole"
    for path in ("extra-single-image", "interrogate"):
        assert api.post(f"{API}/{path}", json={"image": base64_of("red")}).status_code == 422


def test_gimp(api: httpx.Client) -> None:
    assert api.get(f"{API}/options").is_success and api.get(f"{API}/sd-models").is_success
    assert api.get("/controlnet/model_list").json() == {"model_list": []}
    title = api.get(f"{API}/sd-models").json()[0]["title"]
    assert api.post(f"{API}/options", json={"sd_model_checkpoint": title}).is_success
    body = {
        "prompt": "a cat",
        "negative_prompt": "",
        "cfg_scale": 3.0,
        "denoising_strength": 0.8,
        "steps": 2,
        "width": 64,
        "height": 64,
        "sampler_index": "Euler a",
        "batch_size": 1,
        "seed": 7,
    }
    drawn(api, "txt2img?", body)
    further = {
        "resize_mode": 0,
        "init_images": [base64_of("red")],
        "mask": base64_of("white"),
        "inpaint_full_res": True,
        "inpaint_full_res_padding": 10,
        "inpainting_mask_invert": 0,
        "alwayson_scripts": {"controlnet": {"args": []}},
    }
    drawn(api, "img2img?", body | further)
