"""The face of Hugging Face's Inference API, proven with its own client as it is installed."""

import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import ImageToImageTargetSize, InferenceClient, InferenceTimeoutError
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from PIL import Image
from redis import Redis

from app.faces.hf.request import InferenceRequest, Options, Parameters
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.conftest import serving
from tests.app.faces.drawing import FAILS, WAITS, drawing, picture
from tests.app.faces.pages import fields, run, told
from tests.app.shared.making import MODEL, profile, version

OBEYED = ("output_format", "quality", "init_image", "mask_image", "clip_skip", "guidance_rescale", "eta", "sigmas")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"upload_wait_s": 20.0})


@pytest.fixture
def url(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[str]:
    obeys = dict.fromkeys((*OBEYED, "denoise", "fit"), True)
    known = profile(obeys=obeys, samplers=["ddim", "euler_a"], sampler_sigmas={"euler_a": ["karras"]})
    Profiles(storage, settings).publish(known, {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode()), {})
    with drawing(storage, redis, settings, picture):
        yield f"{api.base_url}/hf"


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def client(url: str, model: str = MODEL, **more: Any) -> InferenceClient:
    return InferenceClient(model=f"{url}/models/{model}", **more)


def sent(size: tuple[int, int] = (64, 64)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def test_a_text_becomes_a_picture_as_asked(url: str, ledger: Ledger) -> None:
    found = client(url).text_to_image(
        "a red apple",
        negative_prompt="a plate",
        width=64,
        height=32,
        num_inference_steps=2,
        guidance_scale=4.5,
        scheduler="EulerAncestralDiscreteScheduler",
        seed=7,
    )
    assert found.size == (64, 32)
    request = newest(ledger).request
    assert (request.prompt, request.negative_prompt, request.steps) == ("a red apple", "a plate", 2)
    assert (request.guidance_scale, request.sampler, request.seed) == (4.5, "euler_a", 7)


def test_without_a_model_the_default_one_draws(url: str, ledger: Ledger) -> None:
    assert InferenceClient(model=url).text_to_image("a red apple", num_inference_steps=1).size == (64, 64)
    assert newest(ledger).request.model == MODEL


SHAPES: list[tuple[str, dict[str, Any]]] = [
    (f"{MODEL}:style@0.8+ink@0.5", {}),
    (f"{MODEL}:style@0.8", {"lora": {"name": "ink", "scale": 0.5}}),
    (MODEL, {"adapters": [{"ref": "style", "strength": 0.8}, {"ref": "ink", "strength": 0.5}]}),
    (MODEL, {"loras": [{"path": "style", "scale": 0.8}, {"path": "ink.safetensors", "scale": 0.5}]}),
]


def test_adapters_are_named_in_the_address_and_by_extra_body(url: str, ledger: Ledger) -> None:
    for model, extra in SHAPES:
        client(url, model).text_to_image("a red apple", num_inference_steps=1, extra_body=extra)
        assert [(one.name, one.strength) for one in newest(ledger).request.adapters] == [("style", 0.8), ("ink", 0.5)]


def test_a_picture_becomes_another(url: str, ledger: Ledger) -> None:
    size = ImageToImageTargetSize(width=32, height=64)
    found = client(url).image_to_image(
        sent((32, 64)), prompt="a red apple", num_inference_steps=4, strength=0.5, target_size=size
    )
    assert found.size == (32, 64)
    request = newest(ledger).request
    assert request.init_image and (request.denoise, request.steps) == (0.5, 4)


def test_the_header_says_the_format(url: str, ledger: Ledger) -> None:
    found = client(url, headers={"Accept": "image/webp"}).text_to_image("a red apple", num_inference_steps=1)
    assert (found.format, newest(ledger).request.output_format) == ("WEBP", "webp")


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"model": "sdxl"}, HfHubHTTPError, "sdxl"),
    ({"model": f"{MODEL}:nobody"}, HfHubHTTPError, "nobody"),
    ({"model": f"{MODEL}:style@much"}, BadRequestError, "much"),
    ({"width": 63}, BadRequestError, "width"),
    ({"num_inference_steps": 9999}, BadRequestError, "num_inference_steps"),
    ({"scheduler": "surprise"}, BadRequestError, "scheduler"),
    ({"extra_body": {"lora": {"path": "/etc/passwd"}}}, BadRequestError, "/etc/passwd"),
    ({"extra_body": {"loras": [{"path": "https://example.org/a.safetensors"}]}}, BadRequestError, "example.org"),
    ({"extra_body": {"surprise": 1}}, HfHubHTTPError, "surprise"),
    ({"extra_body": {"num_images_per_prompt": 2}}, HfHubHTTPError, "num_images_per_prompt"),
    ({"prompt": f"{FAILS}prompt_too_long"}, BadRequestError, "it has failed"),
    ({"prompt": f"{FAILS}engine_error"}, HfHubHTTPError, "it has failed"),
]


def test_what_cannot_be_honoured_raises_the_clients_own_error(url: str, ledger: Ledger) -> None:
    for said, raised, words in REFUSED:
        plain = {"prompt": "a red apple", "num_inference_steps": 1} | said
        with pytest.raises(HfHubHTTPError, match=words) as refused:
            client(url, plain.pop("model", MODEL)).text_to_image(**plain)
        assert isinstance(refused.value, raised), (said, refused.value)


@pytest.mark.parametrize("more", [{}, {"strength": 0.5}])
def test_a_picture_alone_is_refused_for_want_of_a_prompt(url: str, more: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match="needs a prompt"):
        client(url).image_to_image(sent(), **more)


def test_who_goes_away_has_it_canceled(url: str, ledger: Ledger) -> None:
    with pytest.raises(InferenceTimeoutError):
        client(url, timeout=1).text_to_image(WAITS)
    until = time.monotonic() + 15
    while newest(ledger).status is not Status.CANCELED:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_key_is_needed_where_there_are_keys(storage: Storage, redis: Redis, settings: Settings) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    _, key = Keyring(storage).add(("draw",), owner="ada")
    with serving(settings) as api, drawing(storage, redis, settings, picture, "ada"):
        url = f"{api.base_url}/hf"
        with pytest.raises(HfHubHTTPError, match="needs a key"):
            client(url).text_to_image("a red apple")
        assert client(url, token=key).text_to_image("a red apple", num_inference_steps=1).size == (64, 64)


def test_a_full_queue_is_told(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> None:
    full = settings.model_copy(update={"max_queued": 1})
    with serving(full) as other:
        other.post("/v1/generations", json={"prompt": WAITS}).raise_for_status()
        with pytest.raises(HfHubHTTPError, match="wait for model") as refused:
            client(f"{other.base_url}/hf").text_to_image("a red apple")
        assert refused.value.response.status_code == 503


def test_the_first_version_of_the_api_is_read_too(url: str) -> None:
    body = {"inputs": "a red apple", "parameters": {"num_inference_steps": 1}, "options": {"wait_for_model": True}}
    assert httpx.post(url, json=body).headers["content-type"] == "image/png"
    refused = httpx.post(url, json=body | {"surprise": 1})
    assert (refused.status_code, json.loads(refused.text).keys()) == (400, {"error", "error_type"})


def test_every_field_has_a_line_on_the_page() -> None:
    kinds = (InferenceRequest, Parameters, Options)
    assert {name for kind in kinds for name in fields(kind)} == told("huggingface.md")


def test_the_snippet_of_the_page_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("huggingface.md", {"http://127.0.0.1:8000/hf": url, "fluent-3d-locon": "style"})
    for name in ("apple.png", "pear.png"):
        with Image.open(name) as drawn:
            assert drawn.size == (64, 64)
