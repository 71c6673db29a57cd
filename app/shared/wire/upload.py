"""Uploads on the wire: a file on its way to being an adapter."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from app.shared.wire.values import Name, Sha256, Wire


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
    """An uploaded file on its way to being an adapter."""

    id: str
    status: UploadStatus
    name: Name
    description: str = ""
    ignore: list[str] = []
    sha256: Sha256
    size_bytes: int
    created_at: datetime
    new: bool = False  # whether these bytes were not there under this name before
    version: int | None = None
    code: str | None = None
    message: str | None = None
    reasons: list[dict[str, Any]] = []
