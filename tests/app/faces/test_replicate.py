"""The face of Replicate's API, proven with its own client as it is installed."""

import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.helpers import FileOutput

from app.faces.replicate.request import Input, PredictionRequest
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.conftest import serving
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.faces.pages import fields, run, told
from tests.app.shared.making import MODEL, profile, version

NAME = f"radiata/{MODEL}"
OBEYED = ("output_format", "quality", "init_image", "mask_image", "denoise")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"upload_wait_s": 20.0})


@pytest.fixture
def client(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[Client]:
    known = profile(obeys=dict.fromkeys(OBEYED, True), samplers=["ddim", "euler"])
    Profiles(storage, settings).publish(known, {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode()), {})
    with drawing(storage, redis, settings), made(api) as one:
        yield one


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@contextmanager
def made(api: httpx.Client, key: str = "any", **more: Any) -> Iterator[Client]:
    one = Client(api_token=key, base_url=f"{api.base_url}/replicate", **more)
    one.poll_interval = 0.05
    yield one
    one._client.close()  # it has no other way


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def asked(**more: Any) -> dict[str, Any]:
    return {"prompt": "a red apple", "num_inference_steps": 2} | more


def test_run_draws_as_asked(client: Client, ledger: Ledger) -> None:
    more = {"num_outputs": 2, "width": 64, "height": 32, "scheduler": "K_EULER", "seed": 3, "guidance_scale": 4.5}
    urls = client.run(NAME, input=asked(**more, output_format="jpg", output_quality=80, negative_prompt="a plate"))
    assert [httpx.get(url).content for url in urls] == [b"picture 0", b"picture 1"]
    request = newest(ledger).request
    assert (request.count, request.width, request.height, request.sampler) == (2, 64, 32, "euler")
    assert (request.seed, request.guidance_scale, request.steps) == (3, 4.5, 2)
    assert (request.output_format, request.quality, request.negative_prompt) == ("jpeg", 80, "a plate")


def test_a_version_draws_and_is_listed(client: Client) -> None:
    model = client.models.get(NAME)
    assert model.latest_version and model.id == NAME
    assert [one.id for one in client.models.list()] == [NAME]
    assert [one.id for one in model.versions.list()] == [model.latest_version.id]
    urls: Any = client.run(f"{NAME}:{model.latest_version.id}", input=asked())
    assert httpx.get(urls[0]).content == b"picture 0"


def test_behind_a_proxy_addresses_are_as_it_says(client: Client, settings: Settings) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "draw.example.org", "X-Forwarded-Prefix": "/art"}
    with serving(settings.model_copy(update={"open": True})) as api, made(api, headers=forwarded) as proxied:
        found: Any = next(iter(proxied.run(NAME, input=asked())))
        assert isinstance(found, FileOutput) and found.url.startswith("https://draw.example.org/art/v1/images/")
        found = next(iter(proxied.predictions.list()))
    assert found.urls and found.urls["get"] == f"https://draw.example.org/art/replicate/v1/predictions/{found.id}"


SHAPES: list[dict[str, Any]] = [
    {"lora_weights": "style", "lora_scale": 0.8, "extra_lora": "ink.safetensors", "extra_lora_scale": 0.5},
    {"hf_loras": ["style", "ink"], "lora_scales": [0.8, 0.5]},
    {"adapters": [{"ref": "style", "strength": 0.8}, {"ref": "ink", "strength": 0.5}]},
    {"loras": [{"path": "style", "scale": 0.8}, {"path": "ink", "scale": 0.5}]},
]


def test_adapters_in_every_shape_are_the_same_adapters(client: Client, ledger: Ledger) -> None:
    for shape in SHAPES:
        client.run(NAME, input=asked(**shape))
        assert [(one.name, one.strength) for one in newest(ledger).request.adapters] == [("style", 0.8), ("ink", 0.5)]


def test_a_picture_is_begun_from(client: Client, ledger: Ledger) -> None:
    file = BytesIO()
    Image.new("RGB", (64, 64), (200, 10, 10)).save(file, "PNG")
    url = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    client.run(NAME, input=asked(image=url, prompt_strength=0.5))
    assert newest(ledger).request.init_image and newest(ledger).request.denoise == 0.5


def test_a_prediction_is_looked_at_listed_and_canceled(client: Client, ledger: Ledger) -> None:
    drawn = client.predictions.create(model=NAME, input=asked(num_inference_steps=9))
    seen = []
    while drawn.status not in ("succeeded", "failed"):
        drawn.reload()
        seen += [drawn.progress.percentage] if drawn.progress else []
    assert [one for one in seen if 0 < one < 1] and seen == sorted(seen) and seen[-1] == 1
    waiting = client.predictions.create(model=NAME, input=asked(prompt=WAITS))
    assert (waiting.status, waiting.id) == ("starting", newest(ledger).id)
    waiting.cancel()
    assert waiting.status == "canceled" and waiting.error and "canceled" in waiting.error
    waiting.cancel()  # once more changes nothing
    assert [one.id for one in client.predictions.list()] == [waiting.id, drawn.id]


def test_a_wait_that_runs_out_is_starting_and_whoever_goes_away_has_it_canceled(
    client: Client, api: httpx.Client, ledger: Ledger
) -> None:
    path, body = f"/replicate/v1/models/{NAME}/predictions", {"input": asked(prompt=WAITS)}
    assert api.post(path, json=body, headers={"Prefer": "wait=1"}).json()["status"] == "starting"
    assert newest(ledger).status is Status.QUEUED
    with pytest.raises(httpx.ReadTimeout):
        api.post(path, json=body, headers={"Prefer": "wait"}, timeout=1)
    until = time.monotonic() + 15
    while newest(ledger).status is not Status.CANCELED:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_stream_has_logs_outputs_and_an_end(client: Client) -> None:
    events = list(client.stream(NAME, input=asked(num_inference_steps=12)))
    kinds = [one.event.value for one in events]
    assert kinds[0] == "logs" and kinds[-2:] == ["output", "done"]
    assert httpx.get(events[-2].data).content == b"picture 0"
    with pytest.raises(RuntimeError, match="it has failed"):
        list(client.stream(NAME, input=asked(prompt=f"{FAILS}out_of_memory")))


def test_what_fails_is_a_model_error(client: Client) -> None:
    with pytest.raises(ModelError, match="it has failed"):
        client.run(NAME, input=asked(prompt=f"{FAILS}out_of_memory"))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("radiata/sdxl", {}, "sdxl"),
    ("others/model", {}, "others/model"),
    (f"{NAME}:{'f' * 64}", {}, "ffff"),
    (NAME, {"adapters": ["nobody"]}, "nobody"),
    (NAME, {"lora_weights": "https://example.org/a.safetensors"}, "example.org"),
    (NAME, {"lora_scale": 0.5}, "lora_scale"),
    (NAME, {"hf_loras": ["style"], "lora_scales": [1.0, 2.0]}, "lora_scales"),
    (NAME, {"width": 63}, "width"),
    (NAME, {"num_inference_steps": 9999}, "num_inference_steps"),
    (NAME, {"image": "https://example.org/a.png"}, "image"),
    (NAME, {"output_quality": 50}, "output_quality"),
    (NAME, {"surprise": 1}, "surprise"),
]


def test_what_cannot_be_honoured_raises_the_clients_own_error(client: Client, ledger: Ledger) -> None:
    for name, more, words in REFUSED:
        with pytest.raises(ReplicateError, match=words):
            client.run(name, input=asked(**more))
    with pytest.raises(ReplicateError, match="no webhook is sent"):
        client.run(NAME, input=asked(), webhook="https://example.org/hook")
    assert ledger.list(1, None)[0] == []


def test_keys_and_a_full_queue_are_told(storage: Storage, redis: Redis, settings: Settings) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    _, key = Keyring(storage).add(("draw",), owner="ada")
    with serving(settings.model_copy(update={"max_queued": 1})) as api:
        with made(api) as stranger, pytest.raises(ReplicateError) as refused:
            stranger.run(NAME, input=asked())
        assert refused.value.status == 401
        with made(api, key) as one:
            one.predictions.create(model=NAME, input=asked())
            with pytest.raises(ReplicateError, match="wait for model") as full:
                one.predictions.create(model=NAME, input=asked())
            assert full.value.status == 503


def test_every_field_has_a_line_on_the_page() -> None:
    assert fields(Input) | fields(PredictionRequest) == told("replicate.md")


def test_the_snippet_of_the_page_runs(client: Client, api: httpx.Client) -> None:
    said = run("replicate.md", {"http://127.0.0.1:8000": str(api.base_url), "fluent-3d-locon": "style"})
    said["client"]._client.close()
    assert httpx.get(said["urls"][0]).content == b"picture 0"
