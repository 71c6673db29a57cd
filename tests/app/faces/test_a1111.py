"""The face of A1111's API, proven with `webuiapi` as it is installed."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import webuiapi
from PIL import Image, PngImagePlugin
from redis import Redis

from app.faces.a1111.options import chosen_key
from app.faces.a1111.request import ImageToImage, TextToImage
from app.faces.a1111.unobeyed import MEANINGLESS, OF_SECOND_PASS, UNOBEYED
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, bytes_key
from app.shared.wire.generation import Generation, Status
from app.shared.wire.key import SCOPES
from app.shared.wire.upload import UploadStatus
from tests.app.faces.drawing import FAILS, WAITS, drawing, picture
from tests.app.shared.making import MODEL, profile, version
from workers.written import written

PAGE = Path(__file__).parents[3] / "docs" / "faces" / "a1111.md"
OBEYED = (
    *("output_format", "quality", "init_image", "denoise", "mask_image", "mask_blur", "fit", "inpaint_area"),
    *("inpaint_padding", "upscale", "clip_skip", "prompt_syntax"),
)
SQUARE: Any = Image.new("RGB", (8, 8))  # for a class that says it takes a module
TITLE = f"{MODEL} [0000000000]"


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a second base, and time for pictures to be decoded."""
    return settings.model_copy(update={"models": {**settings.models, "other": "nowhere"}, "upload_wait_s": 15})


@pytest.fixture
def client(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[webuiapi.WebUIApi]:
    known = profile(
        obeys=dict.fromkeys(OBEYED, True),
        samplers=["ddim", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras"],
        sampler_sigmas={"euler": ["karras", "simple"]},
        max_clip_skip=4,
        inpaint="held",
        max_edge=256,
    )
    Profiles(storage, settings).publish(known, {"unet": {}})
    Profiles(storage, settings).publish(
        known.model_copy(update={"name": "other", "fingerprint": "1" * 64}), {"unet": {}}
    )
    catalog = Catalog(storage, redis)
    catalog.admit(version("style", b"style"), {})
    catalog.admit(version("ink", b"ink", components=["unet", "text_encoder"]), {})
    catalog.admit(version("edges", b"edges", kind="control", components=[]), {})
    with drawing(storage, redis, settings, picture):
        yield webuiapi.WebUIApi(baseurl=f"{api.base_url}/sdapi/v1", sampler="Euler", steps=2)


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def draw(client: webuiapi.WebUIApi, **fields: Any) -> Any:
    plain = {
        "prompt": "a red apple",
        "width": 64,
        "height": 64,
        "cfg_scale": 3,
        "alwayson_scripts": {},
    }  # of scripts, it would keep what the call before has put there
    return client.txt2img(**plain | fields)


def test_pictures_are_drawn_as_asked(client: webuiapi.WebUIApi, ledger: Ledger) -> None:
    found = draw(client, seed=7, batch_size=2, negative_prompt="ugly", width=128, sampler_name="DPM++ 2M Karras")
    request = newest(ledger).request
    assert [one.size for one in found.images] == [(128, 64)] * 2
    assert (request.seed, request.count, request.steps, request.guidance_scale) == (7, 2, 2, 3.0)
    assert (request.prompt, request.negative_prompt, request.sampler) == ("a red apple", "ugly", "dpmpp_2m_karras")
    assert (found.info["width"], found.info["sampler_name"], len(found.info["all_seeds"])) == (128, "DPM++ 2M", 2)
    assert "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras" in found.info["infotexts"][0]
    assert found.parameters["prompt"] == "a red apple"
    draw(client, sampler_name="Automatic", scheduler="Automatic")
    assert (newest(ledger).request.sampler, newest(ledger).request.sigmas) == (None, None)


TAGS = [
    ("<lora:style:0.8> <lora:ink:0.5>", [("style", 0.8, {}), ("ink", 0.5, {})]),
    ("<lora:style:0.1:0.8> <lyco:ink:0.2:0.5>", [("style", 0.8, {}), ("ink", 0.5, {"text_encoder": 0.2})]),
]


def test_tags_are_adapters_and_no_words(client: webuiapi.WebUIApi, ledger: Ledger) -> None:
    for tags, meant in TAGS:
        draw(client, prompt=f"a red apple {tags}")
        request = newest(ledger).request
        assert request.prompt == "a red apple"
        assert [(one.name, one.strength, one.strengths) for one in request.adapters] == meant
    draw(client, prompt="<lora:style:0.2@0,1@0.6> a red apple")
    assert newest(ledger).request.adapters[0].schedule == [(0, 0.2), (0.6, 1)]


def test_hires_fix_is_a_second_pass(client: webuiapi.WebUIApi, ledger: Ledger) -> None:
    draw(client, enable_hr=True, hr_scale=2, hr_upscaler=webuiapi.HiResUpscaler.Lanczos, denoising_strength=0.6)
    upscale = newest(ledger).request.upscale
    assert upscale and (upscale.scale, upscale.denoise, upscale.method) == (2, 0.6, "lanczos")
    draw(client, enable_hr=True, hr_resize_x=128, hr_resize_y=128)
    upscale = newest(ledger).request.upscale
    assert upscale and (upscale.scale, upscale.method) == (2, "latent")


def test_a_request_brings_settings(client: webuiapi.WebUIApi, ledger: Ledger) -> None:
    said = {
        "sd_model_checkpoint": "other",
        "CLIP_stop_at_last_layers": 2,
        "sd_vae": "Automatic",
        "samples_format": "jpg",
    }
    draw(client, override_settings=said)
    request = newest(ledger).request
    assert (request.model, request.clip_skip, request.output_format) == ("other", 1, "jpeg")
    draw(client)
    assert newest(ledger).request.model == MODEL


def test_img2img(client: webuiapi.WebUIApi, ledger: Ledger) -> None:
    image, mask = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "white")
    client.img2img([image], prompt="a cat", width=64, height=64, cfg_scale=3, denoising_strength=0.6, resize_mode=1)
    request = newest(ledger).request
    assert (request.denoise, request.fit, request.mask_image) == (0.6, "crop", None)
    found: Any = client.img2img(
        [image],
        mask_image=mask,
        prompt="a cat",
        width=64,
        height=64,
        mask_blur=2,
        inpaint_full_res_padding=8,
        inpainting_fill=1,
    )
    request = newest(ledger).request
    assert request.mask_image and (request.mask_blur, request.inpaint_padding) == (2, 8)
    assert request.inpaint_area == "masked" and "init_images" not in found.parameters


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "a <lora:nobody-has-it:1>"}, "nobody-has-it"),
    ({"prompt": "a <lora:styl:1>"}, "did you mean 'style'"),
    ({"prompt": "a <lora:style:much>"}, "much"),
    ({"prompt": "a <lora:../../etc/passwd:1>"}, "passwd"),
    ({"prompt": "a [red|blue] cat"}, "prompt"),
    ({"prompt": "a cat AND a dog"}, "AND"),
    ({"prompt": ""}, "prompt"),
    ({"negative_prompt": "<lora:style:1>"}, "negative_prompt"),
    ({"width": 4096}, "4096"),
    ({"width": 63}, "width"),
    ({"steps": 99999}, "steps"),
    ({"seed": -2}, "seed"),
    ({"sampler_name": "Restart"}, "Restart"),
    ({"sampler_name": "Heun"}, "heun"),
    ({"scheduler": "turbo"}, "turbo"),
    ({"styles": ["anime"]}, "styles"),
    ({"subseed_strength": 0.5}, "subseed_strength"),
    ({"restore_faces": True}, "restore_faces"),
    ({"tiling": True}, "tiling"),
    ({"s_churn": 1}, "s_churn"),
    ({"script_name": "x/y/z plot"}, "script_name"),
    ({"enable_hr": True, "hr_upscaler": "ESRGAN"}, "ESRGAN"),
    ({"enable_hr": True, "hr_prompt": "else"}, "hr_prompt"),
    ({"enable_hr": True, "hr_second_pass_steps": 7}, "hr_second_pass_steps"),
    ({"override_settings": {"sd_model_checkpoint": "nobody"}}, "nobody"),
    ({"override_settings": {"sd_vae": "mine.pt"}}, "sd_vae"),
    ({"override_settings": {"whatever": 1}}, "whatever"),
    ({"alwayson_scripts": {"ADetailer": {"args": [True, {"ad_model": "face"}]}}}, "ADetailer"),
    ({"controlnet_units": [webuiapi.ControlNetUnit(SQUARE, model="nobody")]}, "nobody"),
    ({"prompt": f"{FAILS}prompt_too_long"}, "it has failed"),
    ({"prompt": f"{FAILS}engine_error"}, "it has failed"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "named"), REFUSED)
def test_what_cannot_be_honoured_raises_with_the_reason(
    client: webuiapi.WebUIApi, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(RuntimeError) as refused:
        draw(client, **fields)
    status, text = refused.value.args
    body = json.loads(text)
    assert body.keys() == {"error", "detail", "body", "errors"}
    assert 400 <= status <= 500 and named in body["detail"] + body["errors"], body


def background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    told: list[Any] = []

    def run() -> None:
        try:
            told.append(call())
        except RuntimeError as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, told


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_progress_has_previews_and_then_ends(client: webuiapi.WebUIApi) -> None:
    assert client.get_progress()["state"]["job_count"] == 0
    thread, told = background(lambda: draw(client, steps=30))
    seen = []
    while thread.is_alive():
        seen.append(client.get_progress())
        time.sleep(0.05)
    thread.join()
    shares = [one["progress"] for one in seen if one["state"]["job_count"]]
    assert shares == sorted(shares) and [one for one in shares if 0 < one < 1]
    assert [one for one in seen if one["current_image"]] and told[0].image.size == (64, 64)
    client.util_wait_for_ready(0.01)


def test_interrupt_cancels_the_callers_job(client: webuiapi.WebUIApi, ledger: Ledger) -> None:
    client.interrupt()  # there is none, and no error
    thread, told = background(lambda: draw(client, prompt=WAITS))
    until(lambda: client.get_progress()["state"]["job_count"] == 1)
    client.interrupt()
    thread.join(15)
    assert newest(ledger).status is Status.CANCELED
    assert "cancel" in told[0].args[1]


def test_a_task_is_found_by_the_id_that_its_client_chose(client: webuiapi.WebUIApi, api: httpx.Client) -> None:
    thread, _ = background(
        lambda: api.post("/sdapi/v1/txt2img", json={"prompt": WAITS, "force_task_id": "mine"}, timeout=60)
    )
    asked = {"id_task": "mine", "skip_current_image": "true"}
    until(lambda: api.get("/sdapi/v1/progress", params=asked).json()["current_task"] == "mine")
    assert api.get("/sdapi/v1/progress?id_task=another").json()["current_task"] is None
    client.skip()
    thread.join(15)
    assert not thread.is_alive()


def test_options_are_each_owners_own(client: webuiapi.WebUIApi, ledger: Ledger, redis: Redis) -> None:
    assert client.util_get_current_model() == TITLE
    client.util_set_model("other")
    assert client.util_get_current_model() == "other [1111111111]"
    draw(client)
    assert newest(ledger).request.model == "other"
    client.set_options(client.get_options())  # as Open-WebUI does
    for said in ({"sd_model_checkpoint": "nobody"}, {"sd_vae": "mine"}, {"whatever": 1}, {"sd_model_checkpoint": 7}):
        assert client.set_options(said)["error"] in ("model_unknown", "invalid_request"), said
    redis.delete(chosen_key(""))
    redis.rpush(chosen_key(""), "x")
    assert client.util_get_current_model() == TITLE


def test_lists_have_what_is_there(client: webuiapi.WebUIApi, api: httpx.Client) -> None:
    assert client.util_get_model_names() == [TITLE, "other [1111111111]"]
    assert client.util_get_sampler_names() == ["Automatic", "DDIM", "DPM++ 2M", "DPM++ 2M Karras", "Euler", "Euler a"]
    assert client.util_get_scheduler_names() == ["automatic", "karras", "simple"]
    assert {one["name"] for one in client.get_loras()} == {"style", "ink"}
    assert api.get("/sdapi/v1/lora", params={"lora": "style"}).json()["alias"] == "style"
    assert client.controlnet_model_list() == ["edges"] and "canny" in client.controlnet_module_list()
    assert client.controlnet_version() == 2
    for name in ("sd_vae", "hypernetworks", "face_restorers", "prompt_styles", "realesrgan_models"):
        assert getattr(client, f"get_{name}")() == []
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    for path in ("refresh-loras", "refresh-checkpoints"):
        assert api.post(f"/sdapi/v1/{path}").status_code == 200
    with pytest.raises(RuntimeError, match="upscaled"):
        client.interrogate(Image.new("RGB", (8, 8)))


def test_png_info(client: webuiapi.WebUIApi, reader: None) -> None:
    text = "a cat\nNegative prompt: ugly\nSteps: 4, Seed: 7"
    file, info = Image.new("RGB", (8, 8)), PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    file.text = {"parameters": text}  # type: ignore[attr-defined]  # as webuiapi keeps what it writes
    file.info = {"parameters": text}
    found = client.png_info(file)
    assert found.info == text and found.parameters["Seed"] == "7" and found.json["items"] == {"parameters": text}


@pytest.fixture
def reader(storage: Storage, redis: Redis, settings: Settings) -> Iterator[None]:
    """Reads what pictures say, as intake does."""
    uploads, over = Uploads(storage, redis, settings), threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for one in list(uploads.records.waiting()):
                found, data = uploads.waiting(one), storage.get(bytes_key(one))
                if found and data and found.kind == "recipe":
                    facts = {"status": UploadStatus.ADMITTED, "written": written(data)}
                    uploads.settle(found.model_copy(update=facts))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(10)


def test_basic_is_a_key(client: webuiapi.WebUIApi, api: httpx.Client, storage: Storage) -> None:
    key = Keyring(storage).add(SCOPES)[1]
    time.sleep(2.5)
    assert api.get("/sdapi/v1/options", headers={"authorization": ""}).status_code == 401
    for user in ("", "ada"):
        client.set_auth(user or "x", key)
        assert client.util_get_current_model() == TITLE
    for shown in ("wrong", "Basic", "%%%", base64.b64encode(b"no colon").decode(), base64.b64encode(b"a:b").decode()):
        answer = api.get("/sdapi/v1/options", headers={"authorization": f"Basic {shown}"})
        assert answer.status_code == 401 and answer.json()["detail"]


def test_every_field_has_a_line_on_the_page() -> None:
    told = set(
        re.findall(r"`([a-z_0-9]+)`", "".join(re.findall(r"^\|([^|]+)\|", PAGE.read_text("utf-8"), re.MULTILINE)))
    )
    assert TextToImage.model_fields.keys() | ImageToImage.model_fields.keys() <= told
    assert {*UNOBEYED, *OF_SECOND_PASS, *MEANINGLESS} <= ImageToImage.model_fields.keys()


def test_the_snippet_of_the_page_runs(
    client: webuiapi.WebUIApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    monkeypatch.chdir(tmp_path)
    text = found[1].replace("http://127.0.0.1:8000/sdapi/v1", client.baseurl).replace("fluent-3d-locon", "style")
    exec(text, {})
    with Image.open(tmp_path / "apple.png") as drawn:
        assert drawn.size == (64, 64)
