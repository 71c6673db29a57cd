"""Maps that are asked for by themselves: their size where nothing is said of it, and what cannot be made."""

from collections.abc import Iterator

from app.faults import refusal
from app.shared.errors import BadRequest
from app.shared.wire.map import MapRequest, MapWanted
from app.shared.wire.picture import MOST_PIXELS, StoredPicture

UNMADE = ("depth", "pose")  # maps that need a model of their own


def wanted(asked: MapRequest, picture: StoredPicture) -> MapWanted:
    """Return the map that is asked for; raises BadRequest for one that is not made."""
    size = {"width": asked.width or picture.width, "height": asked.height or picture.height}
    for wrong in _wrong(asked, picture, size["width"], size["height"]):
        raise wrong
    return MapWanted.model_validate(asked.model_dump() | size | {"image": picture.ref})


def _wrong(asked: MapRequest, picture: StoredPicture, width: int, height: int) -> Iterator[BadRequest]:
    if asked.preprocess in UNMADE:
        message = f"no {asked.preprocess} map is made here yet"
        yield refusal(["preprocess"], "preprocess_unavailable", message, ["canny"])
    if width * height > MOST_PIXELS:
        message = (
            f"a map of {width}×{height} would be over {MOST_PIXELS // 10**6} million pixels; ask for a smaller one"
        )
        yield refusal(["width"], "image_too_large", message)
    if (width, height) != (picture.width, picture.height) and asked.fit == "refuse":
        sizes = f"the picture is {picture.width}×{picture.height} and the map {width}×{height}"
        yield refusal(["fit"], "picture_size", f"{sizes}; set fit, or leave the size out", ["stretch", "crop", "pad"])
