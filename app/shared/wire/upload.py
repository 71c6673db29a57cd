"""Uploads on the wire: a file on its way to being an adapter, or a picture that requests draw from.

A map that is asked for (`MapWanted`) comes the same way, and its file is what was asked.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from app.shared.wire.dataset import DatasetRef, Unreadable
from app.shared.wire.picture import PictureRef, StoredPicture
from app.shared.wire.values import Name, Sha256, Wire

UploadKind = Literal["adapter", "picture", "map", "dataset"]


class UploadStatus(StrEnum):
    """What became of an upload."""

    INSPECTING = "inspecting"
    ADMITTED = "admitted"
    REFUSED = "refused"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self is not UploadStatus.INSPECTING


class Upload(Wire):
    """An uploaded file on its way to being an adapter or a picture."""

    id: str
    kind: UploadKind = "adapter"
    status: UploadStatus
    name: Name | Literal[""] = Field("", description="of an adapter; pictures have none")
    description: str = ""
    ignore: list[str] = []
    cover: PictureRef | None = Field(default=None, description="of an adapter: a picture of what it draws")
    default_caption: str | None = Field(default=None, description="of a dataset: for pictures without a caption")
    unreadable: Unreadable = Field(
        default="refuse", description="of a dataset: what becomes of pictures that cannot be read"
    )
    dataset: DatasetRef | None = None
    sha256: Sha256
    size_bytes: int
    created_at: datetime
    new: bool = False  # whether these bytes were not there under this name before
    version: int | None = None
    picture: StoredPicture | None = None
    notes: list[str] = Field(default=[], description="what was made of a picture that its sender may not expect")
    code: str | None = None
    message: str | None = None
    reasons: list[dict[str, Any]] = []
