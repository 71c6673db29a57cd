"""`images.edit` of OpenAI's face, proven with its own client; and the calls that Open-WebUI makes, as it makes them."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.image_edit_params import ImageEditParamsBase
from openai.types.image_generate_params import ImageGenerateParamsBase
from PIL import Image
from redis import Redis

from app.faces.openai.editing import EditRequest
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import GenerationRequest, ResolvedRequest
from tests.app.faces.drawing import drawing
from tests.app.shared.making import MODEL, profile, version

PAGE = Path(__file__).parents[3] / "docs" / "faces" / "openai.md"
EDITS = "edits"  # a base that is shown pictures


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"upload_wait_s": 20, "models": {**settings.models, EDITS: "somewhere"}})


@pytest.fixture
def client(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[OpenAI]:
    obeys = dict.fromkeys(GenerationRequest.model_fields, True)
    profiles = Profiles(storage, settings)
    profiles.publish(profile(obeys=obeys | {"reference_images": False}), {"unet": {}})
    profiles.publish(profile(name=EDITS, obeys=obeys, max_references=3), {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode()), {})
    with (
        drawing(storage, redis, settings),
        OpenAI(base_url=f"{api.base_url}/openai/v1", api_key="any", max_retries=0) as one,
    ):
        yield one


@pytest.fixture
def newest(storage: Storage, redis: Redis, settings: Settings) -> Any:
    return lambda: Ledger(storage, redis, settings).list(1, None)[0][0].request


def png(*colours: Any, mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> bytes:
    """A picture of upright stripes of these colours."""
    image = Image.new(mode, size)
    width = size[0] // len(colours)
    for at, colour in enumerate(colours):
        image.paste(colour, (at * width, 0, (at + 1) * width, size[1]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE = png("red"), png("blue")
ERASED = png((9, 9, 9, 0), (9, 9, 9, 255), mode="RGBA")  # its left half is to be drawn anew


def edit(client: OpenAI, **fields: Any) -> Any:
    plain = {"model": MODEL, "prompt": "a red apple", "image": RED, "extra_body": {"num_inference_steps": 2}}
    return client.images.edit(**plain | fields)


def test_a_picture_is_changed_as_asked(client: OpenAI, newest: Any, storage: Storage) -> None:
    extra = {"seed": 3, "num_inference_steps": 4, "guidance_scale": 4.5, "denoise": 0.6}
    found = edit(client, mask=ERASED, n=2, size="64x64", output_format="webp", user="ada", extra_body=extra)
    assert [base64.b64decode(one.b64_json) for one in found.data] == [b"picture 0", b"picture 1"]
    asked: ResolvedRequest = newest()
    assert (asked.count, asked.width, asked.steps, asked.seed, asked.denoise) == (2, 64, 4, 3, 0.6)
    assert asked.init_image and asked.mask_image and not asked.reference_images
    assert Pictures(storage).load(asked.init_image).tobytes() == Image.open(io.BytesIO(RED)).tobytes()
    white, black = "white", "black"
    assert Pictures(storage).load(asked.mask_image).tobytes() == Image.open(io.BytesIO(png(white, black))).tobytes()


def test_a_base_that_edits_is_shown_all_pictures(client: OpenAI, newest: Any) -> None:
    edit(client, model=EDITS, image=[RED, BLUE])
    asked: ResolvedRequest = newest()
    assert len(asked.reference_images) == 2 and asked.init_image is None


SHAPES: list[tuple[str, dict[str, Any]]] = [
    (f"{MODEL}:style@0.8+ink@0.5", {}),
    (f"{MODEL}:style@0.8", {"lora": {"name": "ink", "scale": 0.5}}),
    (MODEL, {"adapters": [{"ref": "style", "strength": 0.8}, {"ref": "ink", "strength": 0.5}]}),
    (MODEL, {"loras": {"style": 0.8, "ink": 0.5}}),
    (MODEL, {"loras": '[{"path": "style", "scale": 0.8}, {"path": "ink", "scale": 0.5}]'}),
]


def test_flattened_adapters_are_the_same_adapters(client: OpenAI, newest: Any) -> None:
    for model, extra in SHAPES:
        edit(client, model=model, extra_body=extra | {"num_inference_steps": 2})
        assert [(one.name, one.strength) for one in newest().adapters] == [("style", 0.8), ("ink", 0.5)], extra
    edit(client, extra_body={"adapters": ["style", "ink"], "num_inference_steps": 2})
    assert [(one.name, one.strength) for one in newest().adapters] == [("style", 1.0), ("ink", 1.0)]


HALF = [{"ref": "style"}, {"ref": "ink", "strength": 0.5}]  # flattened, whose strength it is can no longer be told
REFUSED: list[tuple[dict[str, Any], type[openai.APIStatusError], str]] = [
    ({"extra_body": {"adapters": HALF}}, openai.BadRequestError, "adapters"),
    ({"extra_body": {"surprise": 1}}, openai.BadRequestError, "surprise"),
    ({"extra_body": {"other[name]": 1}}, openai.BadRequestError, "other[name]"),
    ({"image": [RED, BLUE]}, openai.BadRequestError, "image"),
    ({"image": b"no picture"}, openai.BadRequestError, "image"),
    ({"mask": png("white", "black")}, openai.BadRequestError, "mask"),  # nothing of it is transparent
    ({"mask": png((0, 0, 0, 0), (0, 0, 0, 255), mode="RGBA", size=(64, 32))}, openai.BadRequestError, "mask"),
    ({"markup": RED}, openai.BadRequestError, "markup"),
    ({"size": "63x64"}, openai.BadRequestError, "size"),
    ({"n": 99}, openai.BadRequestError, "n"),
    ({"extra_body": {"n": "many"}}, openai.BadRequestError, "n"),
    ({"background": "transparent"}, openai.BadRequestError, "background"),
    ({"model": f"{MODEL}:nobody"}, openai.NotFoundError, "adapters"),
    ({"model": "gpt-image-1"}, openai.NotFoundError, "model"),
]


def test_what_cannot_be_honoured_raises_the_clients_own_error(client: OpenAI) -> None:
    for fields, raised, param in REFUSED:
        with pytest.raises(openai.APIStatusError) as refused:
            edit(client, **fields)
        error = refused.value
        assert (type(error), error.param) == (raised, param) and len(error.message) > 20, (fields, error.body)


def test_a_picture_is_brought_to_the_size_unless_that_is_to_be_refused(client: OpenAI, newest: Any) -> None:
    edit(client, image=png("red", size=(100, 50)), size="64x64")
    assert (newest().width, newest().height, newest().fit) == (64, 64, "crop")
    with pytest.raises(openai.BadRequestError, match="100×50"):
        edit(client, image=png("red", size=(100, 50)), extra_body={"fit": "refuse", "num_inference_steps": 2})


def test_a_stream_of_an_edit_has_its_own_events(client: OpenAI) -> None:
    events = list(edit(client, stream=True, partial_images=1, extra_body={"num_inference_steps": 9}))
    assert [one.type for one in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert base64.b64decode(events[-1].b64_json) == b"picture 0"


@pytest.mark.parametrize("field", ["image", "image[]"])
def test_open_webui_edits(client: OpenAI, newest: Any, field: str) -> None:
    data = {"model": f"{MODEL}:style@0.8", "prompt": "a red apple", "n": "1", "size": "64x64"}
    answer = httpx.post(
        f"{client.base_url}images/edits",
        headers={"Authorization": "Bearer any"},
        data=data | {"background": "auto", "response_format": "b64_json"},
        files=[(field, ("image.png", RED, "image/png"))],
    )
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == b"picture 0"
    assert [(one.name, one.strength) for one in newest().adapters] == [("style", 0.8)]


def test_open_webui_generates(client: OpenAI) -> None:
    said = {"model": f"{MODEL}:style@0.8+ink@0.5", "prompt": "a red apple", "n": 1, "size": "64x64"}
    url = f"{client.base_url}images/generations"
    answer = httpx.post(url, headers={"Authorization": "Bearer any"}, json=said | {"response_format": "b64_json"})
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == b"picture 0"


def test_every_field_of_the_client_has_a_line_on_the_page() -> None:
    told = set(re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    theirs = {name for one in (ImageGenerateParamsBase, ImageEditParamsBase) for name in one.__annotations__}
    fields = {*EditRequest.model_fields, *theirs, "image", "mask", "markup"}
    assert fields <= {name for line in told for name in re.findall("`([a-z_]+)`", line)}


def test_the_snippet_of_the_page_runs(client: OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippet = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "apple.png").write_bytes(RED)
    said: dict[str, Any] = {"client": client}
    exec(snippet, said)
    assert base64.b64decode(said["found"].data[0].b64_json) == b"picture 0"
