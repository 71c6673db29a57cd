"""A photo of any size is drawn at a size that the model draws, and sizes that a refusal names are such."""

from typing import Any

import pytest

from app.accepting.picturing import filled, unfit
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.model import ModelProfile
from app.shared.wire.picture import Place, StoredPicture
from tests.app.shared.making import profile

REF = "image:" + "0" * 64
OBEYS = dict.fromkeys(("prompt", "width", "height", "init_image", "denoise", "mask_image", "fit"), True)
LIMITS = [
    {"max_edge": 1024, "size_multiple": 16},
    {"max_edge": 1000, "size_multiple": 16},
    {"max_edge": 2048, "size_multiple": 64, "max_pixels": 700_000},
    {"max_edge": 1024, "sizes": [(1024, 1024), (640, 1024), (1024, 640)]},
]
PHOTOS = [(6000, 4000), (4000, 6000), (1100, 90), (1024, 1024), (70, 58), (16384, 16), (3, 5)]


def draws(model: ModelProfile, size: tuple[int, int]) -> bool:
    width, height = size
    inside = max(size) <= model.max_edge and width * height <= (model.max_pixels or width * height)
    multiple = width % model.size_multiple == height % model.size_multiple == 0
    return size in model.sizes if model.sizes else inside and multiple


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": "a", "init_image": REF} | fields)


def known(*names: str, **facts: Any) -> dict[Place, StoredPicture]:
    return {(name,): StoredPicture.model_validate({"ref": REF} | facts) for name in names}


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("photo", PHOTOS, ids=str)
def test_sizes_of_a_photo_are_sizes_that_the_model_draws(limits: dict[str, object], photo: tuple[int, int]) -> None:
    model = profile(obeys=OBEYS, width=512, height=512, **limits)
    found = known("init_image", width=photo[0], height=photo[1])
    for fit in ("refuse", "stretch", "crop", "pad"):
        asked = filled(request(fit=fit), found, model)
        assert asked.width and asked.height
        size = asked.width, asked.height
        assert draws(model, size) or (fit == "pad" and size == photo and max(photo) <= model.max_edge), fit
        refusals = list(unfit(asked, found, model))
        assert [one.code for one in refusals] == ["picture_size"] * (fit == "refuse" and not draws(model, photo))
        for one in refusals:
            sizes = [tuple(size) for size in one.reasons[0]["allowed"]]
            assert sizes and all(draws(model, size) for size in sizes)


def test_a_photo_keeps_its_shape_as_far_as_it_can() -> None:
    model = profile(obeys=OBEYS, width=512, height=512, max_edge=1024, size_multiple=8)
    asked = filled(request(fit="crop"), known("init_image", width=6000, height=4000), model)
    assert (asked.width, asked.height) == (1024, 680)


def test_a_mask_in_colours_is_refused() -> None:
    model = profile(obeys=OBEYS, width=64, height=64, max_edge=128)
    asked = request(mask_image=REF, denoise=0.5, width=64, height=64, steps=4)
    for colours, codes in ((True, ["mask_coloured"]), (False, []), (None, [])):
        found = known("init_image", "mask_image", width=64, height=64, lightest=255, colours=colours)
        assert [refusal.code for refusal in unfit(asked, found, model)] == codes
