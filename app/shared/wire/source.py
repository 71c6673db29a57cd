"""Files of other hosts on the wire: what is asked for instead of being sent."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from app.shared.text import no_control_characters
from app.shared.wire.said import AdapterSaid, DatasetSaid
from app.shared.wire.values import Sha256, Wire

Source = Annotated[str, StringConstraints(min_length=4, max_length=2048), AfterValidator(no_control_characters)]


class AdapterSource(AdapterSaid):
    """An adapter that is fetched from another host."""

    source: Source = Field(
        description="`hf:owner/repository[@revision][:file]`, `civitai:<version id>`, or an `https://` address",
        examples=["hf:owner/repository", "civitai:128713"],
    )


class DatasetSource(DatasetSaid):
    """A dataset that is fetched from another host."""

    source: Source = Field(
        description="the `https://` address of a zip, or `hf:owner/repository[@revision][:file.zip]`, a hub's dataset"
    )


class Found(Wire):
    """A file of another host; sha256: as that host says it."""

    url: str
    sha256: Sha256 | None = None
    beside: str | None = Field(default=None, description="the address of PEFT's configuration, where it has one")
