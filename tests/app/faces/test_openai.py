"""The face of OpenAI's Images API, proven with its own client as it is installed."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from redis import Redis

from app.faces.openai.request import ImageRequest
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.shared.making import MODEL, profile, version

PAGE = Path(__file__).parents[3] / "docs" / "faces" / "openai.md"


@pytest.fixture
def client(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[OpenAI]:
    known = profile(obeys={"output_format": True, "quality": True})
    Profiles(storage, settings).publish(known, {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode()), {})
    with drawing(storage, redis, settings), OpenAI(base_url=f"{api.base_url}/openai/v1", api_key="any") as one:
        yield one


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def draw(client: OpenAI, **fields: Any) -> Any:
    plain = {"model": MODEL, "prompt": "a red apple", "extra_body": {"num_inference_steps": 2}}
    return client.images.generate(**plain | fields)


def test_pictures_are_drawn_as_asked(client: OpenAI, ledger: Ledger) -> None:
    found = draw(client, n=2, size="64x32", output_format="webp", output_compression=80, quality="high", user="ada")
    assert [base64.b64decode(one.b64_json) for one in found.data] == [b"picture 0", b"picture 1"]
    assert (found.size, found.output_format, found.background) == ("64x32", "webp", "opaque")
    assert found.usage.total_tokens == 0
    asked = newest(ledger)
    request = asked.request
    assert (request.count, request.width, request.height, request.steps) == (2, 64, 32, 2)
    assert (request.output_format, request.quality, asked.metadata) == ("webp", 80, {"user": "ada"})


def test_urls_open(client: OpenAI) -> None:
    found = draw(client, response_format="url")
    assert httpx.get(found.data[0].url).content == b"picture 0"


SHAPES: list[tuple[str, dict[str, Any]]] = [
    (f"{MODEL}:style@0.8+ink@0.5", {}),
    (f"{MODEL}:style@0.8", {"lora": {"name": "ink", "scale": 0.5}}),
    (MODEL, {"adapters": [{"ref": "style", "strength": 0.8}, {"ref": "ink", "strength": 0.5}]}),
    (MODEL, {"lora": [{"lora_name": "style", "lora_scale": 0.8, "lora_int_id": 7}, {"name": "ink", "scale": 0.5}]}),
    (MODEL, {"lora": [{"path": "style.safetensors", "multiplier": 0.8}, {"id": "ink", "scale": 0.5}]}),
    (MODEL, {"loras": [{"path": "style", "scale": 0.8}, {"path": "ink", "scale": 0.5}]}),
    (MODEL, {"loras": '{"style": 0.8, "ink": 0.5}'}),
    (MODEL, {"loras": {"style": 0.8, "ink": 0.5}}),
]


def test_adapters_in_every_shape_are_the_same_adapters(client: OpenAI, ledger: Ledger) -> None:
    for model, extra in SHAPES:
        draw(client, model=model, extra_body=extra | {"num_inference_steps": 1, "seed": 3, "guidance_scale": 4.5})
        request = newest(ledger).request
        assert [(one.name, one.strength) for one in request.adapters] == [("style", 0.8), ("ink", 0.5)], (model, extra)
        assert (request.seed, request.guidance_scale) == (3, 4.5)
    assert len(ledger.list(50, None)[0]) == len(SHAPES)


REFUSED: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None]] = [
    ({"model": "gpt-image-1"}, openai.NotFoundError, "model"),
    ({"model": f"{MODEL}:nobody"}, openai.NotFoundError, "adapters"),
    ({"model": f"{MODEL}:style@much"}, openai.BadRequestError, "model"),
    ({"model": f"{MODEL}:style.safetensors"}, openai.NotFoundError, "adapters"),  # another name than style
    ({"model": ""}, openai.BadRequestError, "model"),
    ({"size": "63x64"}, openai.BadRequestError, "size"),
    ({"size": "large"}, openai.BadRequestError, "size"),
    ({"background": "transparent"}, openai.BadRequestError, "background"),
    ({"partial_images": 2}, openai.BadRequestError, "partial_images"),
    ({"output_compression": 50}, openai.BadRequestError, "output_compression"),
    ({"extra_body": {"num_inference_steps": 9999}}, openai.BadRequestError, "num_inference_steps"),
    ({"extra_body": {"lora": {"path": "/etc/passwd"}}}, openai.BadRequestError, "lora"),
    ({"extra_body": {"loras": [{"path": "https://example.org/a.safetensors"}]}}, openai.BadRequestError, "loras"),
    ({"extra_body": {"lora": "[" * 100_000}}, openai.BadRequestError, "lora"),
    ({"extra_body": {"lora": '{"style": 1, "style": 2}'}}, openai.BadRequestError, "lora"),
    ({"extra_body": {"surprise": 1}}, openai.BadRequestError, "surprise"),
    ({"prompt": f"{FAILS}prompt_too_long"}, openai.BadRequestError, None),
    ({"prompt": f"{FAILS}engine_error"}, openai.InternalServerError, None),
]


def test_what_cannot_be_honoured_raises_the_clients_own_error(client: OpenAI, ledger: Ledger) -> None:
    for fields, raised, param in REFUSED:
        known = len(ledger.list(50, None)[0])
        with pytest.raises(openai.APIStatusError) as refused:
            draw(client, **fields)
        error = refused.value
        assert (type(error), error.param) == (raised, param) and len(error.message) > 20, (fields, error.body)
        assert len(ledger.list(50, None)[0]) <= known + 1, "it was asked again"


def test_a_stream_has_partial_images_and_the_picture(client: OpenAI) -> None:
    events = list(draw(client, stream=True, partial_images=2, extra_body={"num_inference_steps": 9}))
    kinds = [one.type.removeprefix("image_generation.") for one in events]
    assert kinds == ["partial_image", "partial_image", "completed"]
    assert [one.partial_image_index for one in events[:2]] == [0, 1]
    assert events[0].b64_json != events[1].b64_json
    assert base64.b64decode(events[-1].b64_json) == b"picture 0" and events[-1].usage.total_tokens == 0


def test_a_stream_tells_what_has_failed(client: OpenAI) -> None:
    with pytest.raises(openai.APIError, match="it has failed"):
        list(draw(client, stream=True, prompt=f"{FAILS}out_of_memory"))


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_has_it_canceled(client: OpenAI, ledger: Ledger, stream: bool) -> None:
    impatient = client.with_options(timeout=1, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        found = draw(impatient, prompt=WAITS, stream=stream)
        for _ in found if stream else ():
            pass
    until = time.monotonic() + 15
    while newest(ledger).status is not Status.CANCELED:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_models_are_bases_and_adapters_on_them(client: OpenAI) -> None:
    assert {one.id for one in client.models.list()} == {MODEL, f"{MODEL}:style", f"{MODEL}:ink"}
    for name in (MODEL, f"{MODEL}:style", f"{MODEL}:style@0.8+ink"):
        assert client.models.retrieve(name).id == name
    for name in ("nobody", f"{MODEL}:nobody"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)


def test_every_field_has_a_line_on_the_page() -> None:
    told = set(re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert ImageRequest.model_fields.keys() <= {name for line in told for name in re.findall("`([a-z_]+)`", line)}


def test_the_snippet_of_the_page_runs(client: OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    monkeypatch.chdir(tmp_path)
    text = found[1].replace("http://127.0.0.1:8000/openai/v1", str(client.base_url)).replace("fluent-3d-locon", "style")
    exec(text, {})
    assert (tmp_path / "apple.png").read_bytes() == b"picture 0"
