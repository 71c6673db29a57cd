"""A file that comes in parts, as it is stored until it is whole, and as it is told."""

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from app.shared.wire.upload import UploadStatus
from app.shared.wire.values import Owner, Sha256, Wire

ResumableKind = Literal["adapter", "dataset"]
KEPT = timedelta(days=1)  # from its beginning on, unless it is whole by then


class Resumable(Wire):
    """A file that comes in parts."""

    id: str = Field(description="that of the upload which it becomes")
    owner: Owner
    kind: ResumableKind
    size_bytes: int
    sha256: Sha256 | None = Field(None, description="what it has to be")
    said: dict[str, Any] = Field(description="of the file, as the upload has it")
    created_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When it is forgotten, unless it is whole by then."""
        return self.created_at + KEPT


class Receiving(Wire):
    """How far such a file is."""

    id: str
    kind: ResumableKind
    size_bytes: int
    offset: int = Field(description="bytes that are here")
    sha256: Sha256 | None = None
    said: dict[str, Any] = Field({}, description="of the file, but for what is as by default")
    status: UploadStatus | Literal["receiving"]
    result: str = Field("", description="where what becomes of it is told, once it is whole")
