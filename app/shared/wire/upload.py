"""Uploads on the wire: a file on its way to being an adapter, or a picture that requests draw from.

What is fetched from elsewhere is an upload too, from before its bytes are here (`Download` is its record until then). A
map that is asked for (`MapWanted`) comes the same way, and its file is what was asked; so does a picture of which only
what its file says is wanted (`Written`).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from app.shared.wire.adapter import ABOUT_ENCODER, Visibility
from app.shared.wire.dataset import DatasetRef, Unreadable
from app.shared.wire.picture import PictureRef, StoredPicture
from app.shared.wire.recipe import Written
from app.shared.wire.source import Found
from app.shared.wire.values import Name, Owner, Sha256, Wire

# mask: a picture whose transparent pixels are to be drawn anew, kept as the mask that says so
UploadKind = Literal["adapter", "picture", "mask", "map", "dataset", "recipe"]


class UploadStatus(StrEnum):
    """What became of an upload."""

    FETCHING = "fetching"
    INSPECTING = "inspecting"
    ADMITTED = "admitted"
    REFUSED = "refused"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self not in (UploadStatus.FETCHING, UploadStatus.INSPECTING)


class Upload(Wire):
    """An uploaded file on its way to being an adapter or a picture."""

    id: str
    owner: Owner = ""
    kind: UploadKind = "adapter"
    status: UploadStatus
    name: Name | Literal[""] = Field("", description="of an adapter; pictures have none")
    description: str = ""
    ignore: list[str] = []
    image_encoder: Name | Literal[""] = Field(default="", description=ABOUT_ENCODER)
    visibility: Visibility | None = Field(
        default=None, description="of an adapter: who may use it; null: as before, and of what is new its owner alone"
    )
    cover: PictureRef | None = Field(default=None, description="of an adapter: a picture of what it draws")
    default_caption: str | None = Field(default=None, description="of a dataset: for pictures without a caption")
    unreadable: Unreadable = Field(
        default="refuse", description="of a dataset: what becomes of pictures that cannot be read"
    )
    dataset: DatasetRef | None = None
    source: str = Field(default="", description="where it is fetched from; empty for what was sent")
    fetched_bytes: int = Field(default=0, description="of what is fetched: bytes that are here")
    sha256: Sha256 | Literal[""] = Field(description="empty while it is fetched")
    size_bytes: int = Field(description="0 while that is not known")
    created_at: datetime
    new: bool = False  # whether these bytes were not there under this name before
    version: int | None = None
    picture: StoredPicture | None = None
    written: Written | None = Field(default=None, description="what a picture's file says of how it was made")
    notes: list[str] = Field(default=[], description="what was made of a picture that its sender may not expect")
    code: str | None = None
    message: str | None = None
    reasons: list[dict[str, Any]] = []


class Download(Wire):
    """A file that is fetched, as it is stored until it is here.

    source: as it was given, which may hold what opens it, and is shown to nobody.
    """

    upload: Upload
    source: str
    sha256: Sha256 | None = None
    found: Found | None = None
    tries: int = 0

    @property
    def id(self) -> str:
        """That of the upload."""
        return self.upload.id
