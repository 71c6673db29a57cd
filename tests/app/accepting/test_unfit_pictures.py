"""What acceptance says of pictures that were not meant for the drawing, by their sizes and kinds alone."""

from typing import Any

import pytest

from app.accepting.picturing import unfit
from app.shared.pictures import StoredPicture
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.picture import Place
from tests.app.shared.making import profile

OBEYS = dict.fromkeys(("init_image", "denoise", "mask_image", "fit", "inpaint_area", "upscale"), True)
REF = "image:" + "0" * 64


def stored(width: int = 64, height: int = 64, **known: Any) -> StoredPicture:
    return StoredPicture(ref=REF, width=width, height=height, **{"alpha": False, "lightest": 255} | known)


def codes(init: StoredPicture, mask: StoredPicture | None = None, **fields: Any) -> dict[str, str]:
    """Code of each refusal, by its field."""
    asked = {"prompt": "a", "width": 64, "height": 64, "steps": 4, "denoise": 0.5, "init_image": REF} | fields
    asked |= {"mask_image": REF} if mask else {}
    found: dict[Place, StoredPicture] = {("init_image",): init}
    if mask:
        found["mask_image",] = mask
    wrong = unfit(GenerationRequest.model_validate(asked), found, profile(obeys=OBEYS))
    return {one.reasons[0]["pointer"]: one.code for one in wrong}


@pytest.mark.parametrize(
    ("init", "mask", "refused"),
    [
        (stored(), None, {}),
        (stored(), stored(), {}),
        (stored(70, 58), None, {"/init_image": "picture_size"}),
        (stored(alpha=True), None, {"/init_image": "picture_transparent"}),
        (stored(), stored(65, 64), {"/mask_image": "mask_size"}),
        (stored(), stored(128, 128), {}),
        (stored(), stored(lightest=0), {"/mask_image": "mask_empty"}),
        (stored(), stored(lightest=127), {"/mask_image": "mask_empty"}),  # of two steps, not one
        (stored(), stored(lightest=128), {}),
        (stored(), stored(alpha=True), {"/mask_image": "picture_transparent"}),  # it may mean either
    ],
)
def test_a_picture_that_cannot_be_drawn_from_is_refused_at_its_field(
    init: StoredPicture, mask: StoredPicture | None, refused: dict[str, str]
) -> None:
    assert codes(init, mask) == refused


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_with_a_fit_any_size_is_taken_and_the_mask_has_the_pictures_shape(fit: str) -> None:
    for mask in ((70, 58), (35, 29), (100, 83), (1024, 848)):  # the last two to the next whole pixel
        assert codes(stored(70, 58), stored(*mask), fit=fit) == {}
    assert codes(stored(70, 58), stored(70, 59), fit=fit) == {"/mask_image": "mask_size"}
    assert codes(stored(70, 58), stored(64, 64), fit=fit) == {"/mask_image": "mask_size"}
