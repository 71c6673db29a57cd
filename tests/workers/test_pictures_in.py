"""Pictures come in over HTTP, are decoded by intake, and are named by requests; the API and intake as they run."""

import base64
import io
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from app.shared.pictures import picture_ref
from app.shared.profiles import Profiles
from app.shared.queue import INTAKE
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from tests.app.conftest import serving
from tests.app.shared.making import profile
from workers.intake import Intake

NOBODYS = "image:" + "0" * 64


@pytest.fixture
def api(settings: Settings, storage: Storage) -> Iterator[httpx.Client]:
    """An API of a model that was loaded once."""
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"upload_wait_s": 10.0})) as client:
        yield client


@pytest.fixture
def decoding(intake: Intake, uploads: Uploads, redis: Redis) -> Iterator[None]:
    """What the intake worker does, in a thread."""
    ended = Event()

    def work() -> None:
        queue = uploads.queues.of(INTAKE)
        while not ended.is_set():
            for upload_id in queue.get_job_ids():
                queue.remove(upload_id)
                intake.run(upload_id)
            ended.wait(0.01)

    thread = Thread(target=work)
    thread.start()
    yield
    ended.set()
    thread.join()


def png(colour: str = "red", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def send(api: httpx.Client, data: bytes, **headers: str) -> httpx.Response:
    return api.post("/v1/images", files={"file": ("../../a.svg", data)}, headers=headers)


@pytest.mark.usefixtures("decoding")
def test_a_picture_is_found_by_its_pixels(api: httpx.Client) -> None:
    answer = send(api, png(compress_level=0))
    ref = picture_ref(Image.new("RGB", (8, 6), "red"))
    assert (answer.status_code, answer.json()) == (
        201,
        {"ref": ref, "width": 8, "height": 6, "alpha": False, "lightest": 76, "colours": True, "notes": []},
    )
    assert answer.headers["location"] == f"/v1/images/{ref}"
    for again in (png(), png(format="WEBP", lossless=True)):
        same = send(api, again)
        assert (same.status_code, same.json()) == (200, answer.json())
    assert send(api, png("blue")).json()["ref"] != ref  # under the same name

    found = api.get(answer.headers["location"])
    assert found.headers["content-type"] == "image/png" and "immutable" in found.headers["cache-control"]
    assert Image.open(io.BytesIO(found.content)).tobytes() == Image.new("RGB", (8, 6), "red").tobytes()
    assert api.get(f"/v1/images/{ref}", headers={"If-None-Match": found.headers["etag"]}).status_code == 304


@pytest.mark.usefixtures("decoding")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image_empty"),
        (b"<svg/>", "image_format_unknown"),
        (png()[:40], "image_not_readable"),
        (png(size=(20000, 1)), "image_too_large"),
    ],
)
def test_what_is_no_picture_is_refused(api: httpx.Client, storage: Storage, data: bytes, code: str) -> None:
    answer = send(api, data)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert list(storage.keys("pictures")) == []


def test_a_picture_that_nobody_decodes_yet_is_a_202_that_can_be_asked_about(
    api: httpx.Client, uploads: Uploads, intake: Intake
) -> None:
    answer = send(api, png(), Prefer="respond-async")
    assert (answer.status_code, answer.json()["status"]) == (202, "inspecting")
    where = answer.headers["location"]
    assert api.get(where).status_code == 202
    assert api.get(where.replace("images", "adapters")).status_code == 404  # it is no adapter
    intake.run(answer.json()["id"])
    assert (api.get(where).status_code, api.get(where).json()["width"]) == (200, 8)


@pytest.mark.parametrize("key", ["image:x", NOBODYS, NOBODYS + ".png", "image:../../store.json", "x", "a/1.png"])
def test_only_a_picture_is_given(api: httpx.Client, key: str) -> None:
    answer = api.get(f"/v1/images/{key}")
    assert (answer.status_code, answer.json()["code"]) == (404, "image_unknown")


def test_a_file_over_the_cap_is_refused(settings: Settings) -> None:
    with serving(settings.model_copy(update={"max_image_mb": 1})) as api:
        assert send(api, b"x" * (2**20 + 1)).status_code == 413
        assert send(api, b"x" * (2**21 + 1)).status_code == 413


def test_a_picture_that_kills_its_decoding_is_refused_as_a_picture(api: httpx.Client, uploads: Uploads) -> None:
    where = send(api, png(), Prefer="respond-async").headers["location"]
    uploads.refuse_dead(where.rpartition("/")[2])
    answer = api.get(where)
    assert (answer.status_code, answer.json()["code"]) == (422, "inspection_died")
    assert "decoding this picture" in answer.json()["detail"]


# Maps of it


@pytest.mark.usefixtures("decoding")
def test_a_map_is_asked_for_by_the_pictures_ref(api: httpx.Client, storage: Storage) -> None:
    ref = send(api, png(size=(64, 48))).json()["ref"]
    answer = map_of(api, ref, preprocess="canny", width=32, height=32, fit="pad")
    assert (answer.status_code, answer.json()["width"], answer.json()["height"]) == (201, 32, 32)
    assert answer.headers["location"] == f"/v1/images/{answer.json()['ref']}"
    again = map_of(api, ref, preprocess="canny", width=32, height=32, fit="pad")
    assert (again.status_code, again.json()) == (200, answer.json())
    own = map_of(api, ref, preprocess="canny", thresholds=[1, 2]).json()
    assert (own["width"], own["height"]) == (64, 48)
    assert len(list(storage.keys("pictures"))) == 3


@pytest.mark.usefixtures("decoding")
@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"preprocess": "canny", "width": 32}, "/fit"),
        ({"preprocess": "canny", "width": 16384, "height": 16384, "fit": "pad"}, "/width"),
        ({"preprocess": "canny", "thresholds": [3, 2]}, "/thresholds"),
        ({"preprocess": "none"}, "/preprocess"),
        ({"preprocess": "depth", "thresholds": [1, 2]}, ""),
        ({"preprocess": "depth"}, "/preprocess"),
    ],
)
def test_a_map_that_is_not_made_is_refused(api: httpx.Client, asked: dict[str, Any], pointer: str) -> None:
    answer = map_of(api, send(api, png(size=(64, 48))).json()["ref"], **asked)
    assert (answer.status_code, [one["pointer"] for one in answer.json()["errors"]]) == (422, [pointer])


def test_a_map_of_nothing_is_none(api: httpx.Client) -> None:
    answer = map_of(api, NOBODYS, preprocess="canny")
    assert (answer.status_code, answer.json()["code"]) == (404, "image_unknown")


def map_of(api: httpx.Client, ref: str, **asked: object) -> httpx.Response:
    return api.post(f"/v1/images/{ref}/preprocess", json=asked)


# In a request


OBEYS = dict.fromkeys(("prompt", "width", "height", "init_image", "denoise", "mask_image", "fit"), True)


@pytest.fixture
def drawing(settings: Settings, storage: Storage, decoding: None) -> Iterator[httpx.Client]:
    """An API of a model that draws from pictures."""
    Profiles(storage, settings).publish(profile(obeys=OBEYS), {"unet": {}})
    with serving(settings.model_copy(update={"upload_wait_s": 10.0})) as client:
        yield client


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def ask(api: httpx.Client, key: str = "", **fields: object) -> httpx.Response:
    body = {"prompt": "a fox", "seed": 1} | fields
    return api.post("/v1/generations", json=body, headers={"Idempotency-Key": key} if key else {})


def test_a_data_url_is_taken_where_a_ref_is(drawing: httpx.Client, storage: Storage) -> None:
    image = png("white", size=(64, 64))
    ref = picture_ref(Image.new("RGB", (64, 64), "white"))
    answer = ask(drawing, key="one", init_image=data_url(image), mask_image=data_url(image))
    assert answer.status_code == 202, answer.text
    asked = answer.json()["request"]
    assert (asked["init_image"], asked["mask_image"]) == (ref, ref)
    assert list(storage.keys("pictures")) == [f"pictures/{ref[6:]}.png"]
    again = ask(drawing, key="one", init_image=data_url(image), mask_image=data_url(image))
    assert again.json()["id"] == answer.json()["id"], "the same body under the same key"
    assert ask(drawing, key="one", init_image=ref, mask_image=ref).status_code == 409
    assert ask(drawing, init_image=ref).json()["request"]["init_image"] == ref


def test_a_mask_in_colours_is_refused(drawing: httpx.Client) -> None:
    answer = ask(drawing, init_image=data_url(png(size=(64, 64))), mask_image=data_url(png(size=(64, 64))))
    assert (answer.status_code, answer.json()["code"]) == (422, "mask_coloured")
    assert answer.json()["errors"][0]["pointer"] == "/mask_image"


def test_a_picture_that_cannot_be_had_is_told_at_its_field(drawing: httpx.Client, storage: Storage) -> None:
    answer = ask(drawing, init_image=data_url(b"<svg/>"), mask_image="data:image/png;base64,AAAAA")
    codes = {one["pointer"]: one["code"] for one in answer.json()["errors"]}
    assert (answer.status_code, codes) == (
        422,
        {"/init_image": "image_format_unknown", "/mask_image": "image_not_readable"},
    )
    answer = ask(drawing, init_image=NOBODYS, mask_image=NOBODYS)
    assert (answer.status_code, answer.json()["code"]) == (404, "image_unknown")
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/init_image", "/mask_image"]
    assert ask(drawing, init_image="https://example.org/a.png").json()["errors"][0]["pointer"] == "/init_image"
    assert list(storage.keys("pending")) == []


def test_a_picture_that_is_not_decoded_in_time_is_no_generation(settings: Settings, storage: Storage) -> None:
    Profiles(storage, settings).publish(profile(obeys=OBEYS), {"unet": {}})
    with serving(settings) as api:  # nobody decodes
        answer = ask(api, init_image=data_url(png()))
    assert (answer.status_code, answer.json()["code"]) == (503, "image_not_decoded")
    assert list(storage.keys("pending")) == []
