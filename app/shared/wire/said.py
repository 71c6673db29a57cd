"""What is said of a file, however it comes: sent in one piece or in many, or fetched from another host."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from app.shared.text import no_control_characters
from app.shared.wire.adapter import ABOUT_ENCODER, ABOUT_VISIBILITY, AdapterName, Visibility
from app.shared.wire.dataset import Caption, Unreadable
from app.shared.wire.picture import PictureRef
from app.shared.wire.values import Name, Sha256, Wire

Line = Annotated[str, AfterValidator(no_control_characters)]


class AdapterSaid(Wire):
    """What is said of an adapter's file."""

    sha256: Sha256 | None = Field(None, description="what it has to be; null is whatever it is")
    name: AdapterName
    description: Line = Field("", max_length=2000)
    ignore: list[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = []
    image_encoder: Name | Literal[""] = Field("", description=ABOUT_ENCODER)
    cover: PictureRef | None = Field(None, description="a picture of what it draws, of `POST /v1/images`")
    visibility: Visibility | None = Field(None, description=ABOUT_VISIBILITY)


class DatasetSaid(Wire):
    """What is said of a dataset's zip."""

    sha256: Sha256 | None = Field(None, description="what the zip has to be; null is whatever it is")
    default_caption: Annotated[Caption, AfterValidator(no_control_characters)] | None = Field(
        None, description="of pictures that come without one"
    )
    unreadable: Unreadable = Field("refuse", description="what becomes of a picture that cannot be read")
