"""The common script: the unmodified clients of other APIs do on the whole service what the native API does."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.supervisor import Service
from tests.conftest import running
from tests.e2e.drawing import draw, picture, wait
from tests.e2e.faces.a1111 import A1111Face
from tests.e2e.faces.comfy import ComfyFace
from tests.e2e.faces.face import Face, Wanted
from tests.e2e.faces.fal import FalFace
from tests.e2e.faces.hf import HuggingFaceFace
from tests.e2e.faces.mcp import MCPFace
from tests.e2e.faces.openai import OpenAIFace
from tests.e2e.faces.replicate import ReplicateFace

FACES: list[type[Face]] = [
    ComfyFace,
    OpenAIFace,
    HuggingFaceFace,
    A1111Face,
    MCPFace,
    ReplicateFace,
    FalFace,
]
TWO = {"fluent-3d-loha": 0.7, "striped-lokr": 0.5}  # of different algorithms
LONG = Wanted(prompt="a blue fish", steps=900, width=128, height=128)
FREE_S = 40.0  # within which a canceled job has left its worker


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`radiata up` for all faces, which takes long jobs too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADIATA_MAX_STEPS", str(LONG.steps))
        patch.setenv("RADIATA_OPEN", "1")  # one of them comes through a proxy
        with running(tmp_path_factory.mktemp("faces")) as one:
            yield one


@pytest.fixture
def http(served: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module", params=FACES, ids=lambda one: one.__name__)
def face(request: pytest.FixtureRequest, served: Service) -> Iterator[Face]:
    one: Face = request.param(served.url)
    yield one
    one.close()


def natively(http: httpx.Client, wanted: Wanted) -> np.ndarray:
    """The pixels of the same picture by our own API."""
    adapters = [{"ref": name, "strength": strength} for name, strength in wanted.adapters.items()]
    return pixels(picture(http, draw(http, **asdict(wanted) | {"adapters": adapters})))


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def begun(http: httpx.Client, prompt: str) -> dict[str, Any]:
    """Wait until the newest generation is of this prompt and a worker has it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        newest = http.get("/v1/generations", params={"limit": 1}).json()["generations"]
        if newest and newest[0]["request"]["prompt"] == prompt and newest[0]["status"] == "running":
            return newest[0]
        time.sleep(0.05)
    raise AssertionError(f"{prompt!r} was not begun")


def judge_free(http: httpx.Client, since: float) -> None:
    """The worker draws something else, soon after a job was canceled."""
    draw(http, prompt="a yellow sun")
    assert time.monotonic() - since < FREE_S


def test_a_picture_has_the_pixels_of_the_native_one(face: Face, http: httpx.Client) -> None:
    for wanted in (Wanted(), Wanted(prompt="purple car", seed=11, guidance_scale=2.5, height=128)):
        assert np.array_equal(pixels(face.draw(wanted)), natively(http, wanted)), wanted


def test_two_adapters_of_different_algorithms_are_applied(face: Face, http: httpx.Client) -> None:
    wanted = Wanted(adapters=TWO)
    drawn = pixels(face.draw(wanted))
    assert np.array_equal(drawn, natively(http, wanted))
    assert not np.array_equal(drawn, natively(http, Wanted()))


def test_who_looks_on_sees_progress_and_then_the_picture(face: Face, http: httpx.Client) -> None:
    if not face.follows:
        return  # there is no such call in this API
    wanted = Wanted(steps=60)
    file, shares = face.follow(wanted)
    assert [one for one in shares if 0 < one < 1] and shares == sorted(shares), shares
    assert np.array_equal(pixels(file), natively(http, wanted))


def test_what_is_canceled_frees_the_worker(face: Face, http: httpx.Client) -> None:
    wanted = replace(LONG, prompt="a blue fish in a net")
    cancel = face.begin(wanted)
    generation = begun(http, wanted.prompt)
    since = time.monotonic()
    cancel()
    assert wait(http, generation["id"])["status"] == "canceled"
    judge_free(http, since)


def test_an_unknown_adapter_is_named_in_the_clients_own_error(face: Face) -> None:
    with pytest.raises(face.unknown_adapter) as refused:
        face.draw(Wanted(adapters={"nobody-has-it": 1.0}))
    assert "nobody-has-it" in face.sentence(refused.value)


def test_a_wrong_size_is_named_in_the_clients_own_error(face: Face) -> None:
    with pytest.raises(face.wrong_size) as refused:
        face.draw(Wanted(width=4096))
    sentence = face.sentence(refused.value)
    assert "4096" in sentence or "width" in sentence, sentence


def test_what_somebody_else_cancels_raises_the_clients_own_error(face: Face, http: httpx.Client) -> None:
    wanted = replace(LONG, prompt="a blue fish on a hook")
    with ThreadPoolExecutor(1) as waiting:
        drawing = waiting.submit(face.draw, wanted)
        generation = begun(http, wanted.prompt)
        since = time.monotonic()
        assert http.post(f"/v1/generations/{generation['id']}/cancel").is_success
        with pytest.raises(face.canceled) as told:
            drawing.result(FREE_S)
    assert "cancel" in face.sentence(told.value)
    judge_free(http, since)
