"""Maps made of pictures for control nets, on the wire: one function makes them (`workers/control/maps.py`)."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from app.shared.wire.picture import Fit, PictureRef, Pixels
from app.shared.wire.values import Whole, Wire

Made = Literal["canny", "depth", "pose"]
Preprocess = Literal["none", Made]
STRONGEST = 2040  # what two gradients of 8 bits can come to
Gradient = Annotated[Whole, Field(ge=0, le=STRONGEST)]


def _rising(thresholds: tuple[int, int]) -> tuple[int, int]:
    if thresholds[0] > thresholds[1]:  # OpenCV would exchange them
        raise ValueError(f"[weak, strong] is {list(thresholds)}; the first is at most the second")
    return thresholds


Thresholds = Annotated[tuple[Gradient, Gradient], AfterValidator(_rising)]
THRESHOLDS_ELSEWHERE = "thresholds are of canny alone; leave them out"
ABOUT_THRESHOLDS = (
    "[weak, strong] of `canny`: gradients from which an edge goes on, and from which one begins; null is [100, 200]"
)


class MapSettings(Wire):
    """How a map is made of a picture."""

    preprocess: Made = Field(description="`canny`: its edges; `depth`: near is light; `pose`: people as OpenPose draws")
    fit: Fit = Field("refuse", description="what is done with a picture of another size, as `fit` of a request")
    thresholds: Thresholds | None = Field(None, description=ABOUT_THRESHOLDS)

    @model_validator(mode="after")
    def _thresholds_are_of_edges(self) -> Self:
        if self.thresholds is not None and self.preprocess != "canny":
            raise ValueError(THRESHOLDS_ELSEWHERE)
        return self


class MapRequest(MapSettings):
    """A map that is asked for; without a size it has the picture's own."""

    width: Pixels | None = Field(None, description="pixels, those of the drawing; null is the picture's own")
    height: Pixels | None = Field(None, description="pixels, as `width`")


class MapWanted(MapSettings):
    """A map of a picture that is stored, at the size of a drawing."""

    image: PictureRef
    width: Pixels
    height: Pixels
