"""Maps that are asked for by themselves: their size where nothing is said of it, and what cannot be made."""

import json
from collections.abc import Collection, Iterator
from typing import get_args

from app.http.faults import refusal
from app.shared.environment import variable
from app.shared.errors import BadRequest
from app.shared.settings import Settings
from app.shared.wire.map import Made, MapRequest, MapWanted, Preprocess
from app.shared.wire.picture import MOST_PIXELS, StoredPicture

# Maps that need models of their own, and how they are named
EXAMPLES = {
    "depth": {"depth": "depth-anything/Depth-Anything-V2-Small-hf"},
    "pose": {"pose": "usyd-community/vitpose-base-simple", "person": "PekingU/rtdetr_r50vd_coco_o365"},
}


def unmade(preprocess: Preprocess, named: Collection[str]) -> str | None:
    """Return the sentence that no such map is made here; None where one is.

    named: kinds of maps for which there are models.
    """
    if preprocess not in EXAMPLES or preprocess in named:
        return None
    example = json.dumps(EXAMPLES[preprocess])
    return f"no {preprocess} map is made here: name a model for it, as {variable('preprocessors')}='{example}'"


def makes(named: Collection[str]) -> list[Made]:
    """Return the kinds of maps that are made here; named: as above."""
    return [one for one in get_args(Made) if not unmade(one, named)]


def wanted(asked: MapRequest, picture: StoredPicture, settings: Settings) -> MapWanted:
    """Return the map that is asked for; raises BadRequest for one that is not made."""
    size = {"width": asked.width or picture.width, "height": asked.height or picture.height}
    for wrong in _unmade(asked, picture, (size["width"], size["height"]), settings):
        raise wrong
    return MapWanted.model_validate(asked.model_dump() | size | {"image": picture.ref})


def _unmade(
    asked: MapRequest, picture: StoredPicture, size: tuple[int, int], settings: Settings
) -> Iterator[BadRequest]:
    width, height = size
    if message := unmade(asked.preprocess, settings.preprocessors):
        yield refusal(["preprocess"], "preprocess_unavailable", message, makes(settings.preprocessors))
    if width * height > MOST_PIXELS:
        message = (
            f"a map of {width}×{height} would be over {MOST_PIXELS // 10**6} million pixels; ask for a smaller one"
        )
        yield refusal(["width"], "image_too_large", message)
    if (width, height) != (picture.width, picture.height) and asked.fit == "refuse":
        sizes = f"the picture is {picture.width}×{picture.height} and the map {width}×{height}"
        yield refusal(["fit"], "picture_size", f"{sizes}; set fit, or leave the size out", ["stretch", "crop", "pad"])
