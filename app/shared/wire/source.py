"""Files of other hosts on the wire: what is asked for instead of being sent."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from app.shared.text import no_control_characters
from app.shared.wire.adapter import ABOUT_ENCODER, ABOUT_VISIBILITY, AdapterName, Visibility
from app.shared.wire.dataset import Caption, Unreadable
from app.shared.wire.picture import PictureRef
from app.shared.wire.values import Name, Sha256, Wire

Source = Annotated[str, StringConstraints(min_length=4, max_length=2048), AfterValidator(no_control_characters)]
Line = Annotated[str, AfterValidator(no_control_characters)]


class AdapterSource(Wire):
    """An adapter that is fetched from another host."""

    source: Source = Field(
        description="`hf:owner/repository[@revision][:file]`, `civitai:<version id>`, or an `https://` address",
        examples=["hf:owner/repository", "civitai:128713"],
    )
    sha256: Sha256 | None = Field(None, description="what it has to be; null is what the other host says")
    name: AdapterName
    description: Line = Field("", max_length=2000)
    ignore: list[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = []
    image_encoder: Name | Literal[""] = Field("", description=ABOUT_ENCODER)
    cover: PictureRef | None = Field(None, description="a picture of what it draws, of `POST /v1/images`")
    visibility: Visibility | None = Field(None, description=ABOUT_VISIBILITY)


class DatasetSource(Wire):
    """A dataset that is fetched from another host."""

    source: Source = Field(
        description="the `https://` address of a zip, or `hf:owner/repository[@revision][:file.zip]`, a hub's dataset"
    )
    sha256: Sha256 | None = Field(None, description="what the zip has to be; null is what the other host says")
    default_caption: Annotated[Caption, AfterValidator(no_control_characters)] | None = Field(
        None, description="of pictures that come without one"
    )
    unreadable: Unreadable = Field("refuse", description="what becomes of a picture that cannot be read")


class Found(Wire):
    """A file of another host; sha256: as that host says it."""

    url: str
    sha256: Sha256 | None = None
    beside: str | None = Field(default=None, description="the address of PEFT's configuration, where it has one")
