"""Maps made of pictures for control nets: what `preprocess` of an adapter's entry says.

A map is made at the drawing's size, kept as a picture, and named in the recipe in place of the picture that it was made
of: from then on it is a map as any other, and a request that names it directly draws the same bytes. `POST
/v1/images/{ref}/preprocess` and an entry's `preprocess` call one function, so the map is the same to the bit.
"""

from collections.abc import Sequence

import cv2
from PIL import Image
from PIL.Image import Image as Picture

from app.shared.errors import BadRequest
from app.shared.pictures import Pictures
from app.shared.settings import Settings
from app.shared.wire.map import Made, MapWanted, Preprocess
from app.shared.wire.picture import Fit
from workers.control.depth import depth
from workers.control.depth import preprocessor as depth_model
from workers.control.pose import pose
from workers.control.pose import preprocessors as pose_models
from workers.control.preprocessors import Preprocessors
from workers.drawing.placement import Placement, Size
from workers.models.pixels import pixels_of
from workers.patience import Patience

BLACK = (0, 0, 0, 255)
THRESHOLDS = (100, 200)  # gradients from which an edge goes on, and from which one begins, as in diffusers' guides
LINES = frozenset(("canny", "soft_edge"))  # modes whose maps are white lines on black
MOST_WHITE, WHITE = 0.5, 128


class Maps:
    """Makes maps of stored pictures; the models that some need are kept."""

    def __init__(self, pictures: Pictures, settings: Settings, patience: Patience | None = None) -> None:
        self._pictures = pictures
        self._models = Preprocessors(settings, patience)

    def made(self, wanted: MapWanted) -> Picture:
        """Return a map (RGB) of a picture; raises NotFound, Unreadable, and BadRequest for one that does not fit.

        Raises ModelAway as `Preprocessors.get` does.
        """
        (placed,) = placed_for_control(self._pictures.load(wanted.image), [(wanted.width, wanted.height)], wanted.fit)
        return self.made_of(placed, wanted.preprocess, wanted.thresholds)

    def made_of(self, placed: Picture, preprocess: Made, thresholds: tuple[int, int] | None) -> Picture:
        """Return the map of a picture (RGB) that has the drawing's size; raises as `made` does."""
        match preprocess:
            case "canny":
                return canny(placed, thresholds or THRESHOLDS)
            case "depth":
                return depth(placed, self._models)
            case "pose":
                return pose(placed, self._models)

    def load(self, preprocess: Preprocess) -> None:
        """Load the models that make maps of this kind, where they are not held; raises as `made` does."""
        match preprocess:
            case "depth":
                depth_model(self._models)
            case "pose":
                pose_models(self._models)
            case _:
                pass

    def made_by(self, preprocess: Preprocess) -> list[str]:
        """Return the fingerprints of the models that make maps of this kind."""
        match preprocess:
            case "depth":
                return [depth_model(self._models).fingerprint]
            case "pose":
                return [one.fingerprint for one in pose_models(self._models)]
            case _:
                return []


def placed_for_control(picture: Picture, sizes: Sequence[Size], fit: Fit) -> list[Picture]:
    """Return a picture (RGB) as a control net reads it in each pass: of its size, black where there is none of it.

    sizes: of the passes. A later one lies on the first as if that were stretched, and has the details of its own size.
    Raises BadRequest for a picture that does not fit the first.
    """
    try:
        first = Placement.of(picture.size, sizes[0], fit)
    except ValueError as error:
        raise BadRequest("picture_size", f"{error}; set fit, or make them the same") from error
    whole = opaque(picture)
    return [first.enlarged(size).place(whole, 0) for size in sizes]


def opaque(picture: Picture) -> Picture:
    """Return a picture in RGB; what is transparent is black, as the ground of line maps and poses is."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, BLACK), picture)
    return picture.convert("RGB")


def canny(picture: Picture, thresholds: tuple[int, int] = THRESHOLDS) -> Picture:
    """Return the edges of a picture (RGB), white on black."""
    edges = cv2.Canny(pixels_of(picture.convert("L"))[..., 0].numpy(), *thresholds)
    return Image.fromarray(edges).convert("RGB")


def check_lines(ref: str, mode: str | None, picture: Picture) -> None:
    """Refuse what cannot be a line map where one is read: lines are white, and few."""
    if mode not in LINES:
        return
    histogram = picture.convert("L").histogram()
    white = sum(histogram[WHITE:]) / sum(histogram)
    if white > MOST_WHITE:
        message = f"the image of {ref!r} is {white:.0%} white, and a {mode} map is white lines on black"
        raise BadRequest("map_not_lines", f'{message}: invert it, or set "preprocess": "canny" for a photograph')
