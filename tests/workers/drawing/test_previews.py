"""Previews: like the picture before it is done, for those who ask alone, and without a trace in any byte (law 3)."""

import io
import itertools
from base64 import b64decode
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from redis import Redis

from app.shared.previews import DATA_URL, Preview
from app.shared.settings import Settings
from tests.app.shared.making import request
from workers.drawing.previews import Previews
from workers.drawing.sampling import Sampling
from workers.models import loading
from workers.models.latents import LATENTS, unpacked
from workers.models.loading import LoadedModel
from workers.models.preview_map import PreviewMap

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of a scheduler

STEPS = 4
ONE = "1" * 32


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return loading.load("emoji-64", Settings())  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("previews")


def draw(base: LoadedModel, previews: Previews | None, **fields: Any) -> Image.Image:
    asked = request(steps=STEPS, guidance_scale=5.0, **fields)
    show = previews.of(ONE, 1, 10) if previews else None
    return Sampling(base).picture(asked, 7, lambda _: None, show=show)


def newest(redis: Redis) -> Preview | None:
    found: Any = redis.get(f"radiata:preview:{ONE}")
    return found and Preview.model_validate_json(found)


def alike(one: Image.Image, other: Image.Image) -> float:
    left, right = (np.asarray(picture.resize((64, 64)), dtype=float).ravel() for picture in (one, other))
    return float(np.corrcoef(left, right)[0, 1])


@pytest.mark.parametrize("sampler", [None, "euler", "unipc"])
def test_a_preview_is_like_the_picture_and_changes_no_byte(
    base: LoadedModel, redis: Redis, folder: Path, sampler: str | None
) -> None:
    plain = draw(base, None, sampler=sampler)
    redis.set(f"radiata:previews:{ONE}", b"1")
    until_the_last = itertools.chain(range(STEPS - 1), itertools.repeat(STEPS - 2))  # a look at each step but the last
    seen = draw(base, Previews(base, redis, folder, lambda: float(next(until_the_last))), sampler=sampler)
    assert seen.tobytes() == plain.tobytes()
    preview = newest(redis)
    assert preview and (preview.index, preview.width, preview.height) == (1, 64, 64)
    assert 10 < preview.step < 10 + STEPS
    picture = Image.open(io.BytesIO(b64decode(preview.data.removeprefix(DATA_URL))))
    assert picture.format == "WEBP" and alike(picture, plain) > 0.85
    assert len(list(folder.iterdir())) == 1, "the map is kept"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was looked into, by its number; the first look goes wrong."""
    looked: list[int] = []

    def broken(_scheduler: object, timestep: int, *_: object) -> None:
        looked.append(timestep)
        raise RuntimeError("no map")

    monkeypatch.setattr("workers.drawing.previews.predicted", broken)
    return looked


def take(previews: Previews, *steps: int) -> None:
    nothing, show = torch.zeros(1), previews.of(ONE, 1, 10)
    for step in steps:
        show((64, 64), None, step, nothing, nothing, None, step)


def test_nothing_is_looked_into_while_nobody_asks(
    base: LoadedModel, redis: Redis, tmp_path: Path, steps: list[int]
) -> None:
    take(Previews(base, redis, tmp_path, itertools.count().__next__), 1, 2, 3)  # type: ignore[arg-type]
    assert (steps, newest(redis)) == ([], None)


def test_what_goes_wrong_ends_no_drawing_and_is_not_tried_again(
    base: LoadedModel, redis: Redis, tmp_path: Path, steps: list[int]
) -> None:
    redis.set(f"radiata:previews:{ONE}", b"1")
    take(Previews(base, redis, tmp_path, itertools.count().__next__), 1, 2, 3)  # type: ignore[arg-type]
    assert (steps, newest(redis)) == ([1], None)


def test_a_map_that_misses_the_decoder_shows_nothing() -> None:
    for fit, shows in ((0.49, False), (0.5, True)):
        assert PreviewMap(torch.zeros(1, 1), 1, 1, 1, fit).shows is shows


@pytest.mark.parametrize(
    "name",
    [
        *("StableDiffusionPipeline", "FluxPipeline", "QwenImagePipeline", "WanPipeline", "Flux2Pipeline"),
        *("QwenImage21Pipeline", "Kandinsky5T2IPipeline"),
    ],
)
def test_latents_in_a_row_are_put_back_in_their_places(name: str) -> None:
    kind = getattr(diffusers, name)
    pipeline, latents = kind.__new__(kind), torch.randn(1, 8, 4, 6)
    family = LATENTS[name]
    row = family.shape(pipeline, latents.unsqueeze(2) if family.films else latents)
    assert torch.equal(unpacked(pipeline, row, 8, 4, 6), latents)
