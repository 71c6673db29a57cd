"""A file as it is sent: written once, into the system's folder for temporary files, and hashed on the way."""

import hashlib
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, cast

from fastapi import UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

PREFIX = "radiata-upload-"


class Spooled(UploadFile):
    """A sent file; gone when it is closed, or when its process ends. Raises OSError when the folder is full."""

    def __init__(self, filename: str | None, headers: Headers) -> None:
        file = NamedTemporaryFile(prefix=PREFIX)  # noqa: SIM115 (the parser closes it)
        super().__init__(cast(BinaryIO, file.file), size=0, filename=filename, headers=headers)
        self._named = file
        self._digest = hashlib.sha256()

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        return Path(self._named.name)

    @property
    def sha256(self) -> str:
        """Hash of what has been written."""
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size = (self.size or 0) + len(data)
        await run_in_threadpool(self._take, data)

    async def seek(self, offset: int) -> None:
        """Go to a place in the file; what was written is there."""
        await run_in_threadpool(self._named.seek, offset)
        await run_in_threadpool(self._named.flush)

    async def close(self) -> None:
        """Delete it."""
        self.discard()

    def discard(self) -> None:
        """Delete it."""
        with suppress(OSError):  # what could not be written need not be
            self._named.close()

    def _take(self, data: bytes) -> None:
        self._digest.update(data)
        self._named.write(data)
