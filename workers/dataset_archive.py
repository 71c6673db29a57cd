"""The zip of a dataset, judged by its table of contents before a byte of it is unpacked."""

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from app.shared.errors import DatasetRefused
from app.shared.settings import MIB

MOST_FILES = 20_000
LONGEST = 512  # characters of a name
NAMED = 20  # files that a refusal names
BESIDE = re.compile(r"(.*/)?(__MACOSX/.*|\.[^/]*|Thumbs\.db|desktop\.ini)", re.IGNORECASE)  # what systems leave about
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# ValueError: among others, a name that is not the UTF-8 that it says; one before its file is another than the table has
UNREADABLE = (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError)
ENCRYPTED = 1  # bit of a member's flags


class Archive:
    """The files of a zip by name; raises DatasetRefused, every one that is wrong named.

    most_mb: of all files unpacked; most_file_mb: of one.
    """

    def __init__(self, data: bytes, most_mb: int, most_file_mb: int) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = [one for one in self._zip.infolist() if not one.is_dir()]
        except UNREADABLE as error:
            raise DatasetRefused("dataset_not_readable", f"this is no whole zip ({error}): send it again") from error
        if len(members) > MOST_FILES:
            message = f"the zip has {len(members)} files; at most {MOST_FILES} are taken"
            raise DatasetRefused("dataset_too_large", message)
        if (total := sum(one.file_size for one in members)) > most_mb * MIB:
            message = f"unpacked, the zip is {total // MIB} MiB; RADIATA_MAX_DATASET_MB takes {most_mb}"
            raise DatasetRefused("dataset_too_large", message)
        self.left = [one.filename for one in members if BESIDE.fullmatch(one.filename)]
        kept = [one for one in members if not BESIDE.fullmatch(one.filename)]
        refuse({one.filename: why for one in kept for why in _wrong(one, most_file_mb)})
        self._members = {str(PurePosixPath(one.filename)): one for one in kept}  # `./a.png` is `a.png`
        if len(self._members) < len(kept):
            raise DatasetRefused("dataset_refused", "the zip has several files of one name; give each its own")

    @property
    def names(self) -> list[str]:
        """Names of the files, each written in one way, but for what systems leave about."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raise DatasetRefused where they are not what the table of contents says."""
        member = self._members[name]
        try:
            with self._zip.open(member) as file:
                return file.read(member.file_size + 1)
        except (*UNREADABLE, zlib.error, RuntimeError) as error:
            message = f"{shown(name)} cannot be unpacked ({error}): make the zip again"
            raise DatasetRefused("dataset_not_readable", message) from error


def refuse(wrong: dict[str, str], code: str = "dataset_refused") -> None:
    """Raise DatasetRefused for files that are wrong, if there are any."""
    if wrong:
        told = [f"{shown(name)}: {why}" for name, why in wrong.items()]
        more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
        reasons = [{"pointer": "/file", "code": code, "message": message, "allowed": None} for message in told[:NAMED]]
        raise DatasetRefused(code, "; ".join(told[:3]) + more, reasons=reasons)


def shown(name: str) -> str:
    """Return a name from outside as a sentence may have it."""
    return repr(name if len(name) <= LONGEST else f"{name[:LONGEST]}…")


def _wrong(member: zipfile.ZipInfo, most_mb: int) -> Iterator[str]:
    """Yield what is wrong with a file, by the table of contents."""
    name, mode = member.filename, member.external_attr >> 16
    path = PurePosixPath(name)
    if stat.S_ISLNK(mode):
        yield "is a link; put the file itself into the zip"
    elif path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name):
        yield "is not the name of a file below the folder"
    elif len(name) > LONGEST or any(ord(one) < 32 or 0x7F <= ord(one) < 0xA0 for one in name):
        yield "has a name that is too long, or with control characters"
    elif member.flag_bits & ENCRYPTED:
        yield "is encrypted; make the zip without a password"
    elif member.compress_type not in METHODS:
        yield "is compressed in a way that is not read here; make the zip with deflate"
    elif member.file_size > most_mb * MIB:
        yield f"is {member.file_size // MIB} MiB; RADIATA_MAX_IMAGE_MB takes {most_mb}"
