"""The files of one adapter: one safetensors file, or PEFT's two files in a folder or a zip.

Only `adapter_model.safetensors` and `adapter_config.json` are read from a folder or zip; nothing is unpacked to a disk,
and no other file in it is opened.
"""

import hashlib
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lycoris.dialects import adapter_config
from lycoris.dialects.adapter_config import AdapterConfig
from lycoris.errors import Code, FileRefused, Reason, shown
from lycoris.files.safetensors_file import read_bytes

WEIGHTS, CONFIG = "adapter_model.safetensors", adapter_config.NAME
CONFIG_CAP = 1 << 20  # bytes; real ones are below 10 kB
FILES_CAP = 64  # in a zip: weights, configuration, a README, a few pictures
ZIP = b"PK\x03\x04"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Exceptions of zipfile for a broken zip, according to its source
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, RuntimeError, EOFError, OSError, ValueError, OverflowError),
)


@dataclass(frozen=True)
class Bundle:
    """The bytes of the weights, with PEFT's configuration where there is one."""

    weights: bytes
    config: AdapterConfig | None
    sha256: str | None  # of the zip, or of a folder's two files concatenated; None: that of the weights


def open_bundle(source: str | os.PathLike[str] | bytes, cap: int) -> Bundle:
    """Return an adapter's weights and configuration, from a file, a folder, a zip or the bytes of one.

    cap: bytes above which the weights are not read. Raises FileRefused for a file that cannot be read or is over a
    cap, and for a zip with paths that lead out of it, with a name twice, or without the two files in one folder.
    """
    if not isinstance(source, bytes) and Path(source).is_dir():
        weights = read_bytes(Path(source) / WEIGHTS, cap)
        config = read_bytes(Path(source) / CONFIG, CONFIG_CAP)
        return Bundle(weights, adapter_config.adapter_config(config), _sha256(weights, config))
    data = read_bytes(source, cap)
    return _unzipped(data, cap) if data.startswith(ZIP) else Bundle(data, None, None)


def _unzipped(data: bytes, cap: int) -> Bundle:
    config, weights = None, b""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            configs = [member for member in archive.infolist() if PurePosixPath(member.filename).name == CONFIG]
            if configs:
                config, weights = _members(archive, configs, cap)
    except BROKEN as error:
        if CONFIG.encode() in data:
            raise _refused(Code.UNREADABLE, f"the zip cannot be read: {shown(str(error))}") from error
    if config is None:
        return Bundle(data, None, None)  # torch's own files are zips too; they are refused as such later
    return Bundle(weights, adapter_config.adapter_config(config), _sha256(data))


def _members(archive: zipfile.ZipFile, configs: list[zipfile.ZipInfo], cap: int) -> tuple[bytes, bytes]:
    """Return the bytes of the configuration and of the weights."""
    wrong = list(_problems(archive.infolist()))
    if wrong:
        raise FileRefused(wrong)
    if len(configs) > 1:
        raise _refused(Code.DUPLICATE, f"the zip holds {len(configs)} adapters: send them one by one")
    expected = str(PurePosixPath(configs[0].filename).with_name(WEIGHTS))
    weights = next((member for member in archive.infolist() if member.filename == expected), None)
    if weights is None:
        raise _refused(Code.UNREADABLE, f"the zip has {CONFIG} but no {WEIGHTS} beside it: only that is read")
    return _member(archive, configs[0], CONFIG_CAP), _member(archive, weights, cap)


def _problems(members: list[zipfile.ZipInfo]) -> Iterable[Reason]:
    if len(members) > FILES_CAP:
        yield Reason(Code.TOO_LARGE, "", f"the zip holds {len(members)} files, above the cap of {FILES_CAP}")
        return
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if name.startswith(("/", "\\")) or "\\" in name or ":" in name or ".." in name.split("/"):
            yield Reason(Code.BAD_NAME, shown(name), "leads out of the zip")
        if name in seen:
            yield Reason(Code.DUPLICATE, shown(name), "is in the zip twice")
        if member.flag_bits & 1 or member.compress_type not in METHODS:
            yield Reason(Code.UNREADABLE, shown(name), "is encrypted, or compressed by a method that is not read")
        seen.add(name)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, cap: int) -> bytes:
    # The size in the zip's directory is not trusted: a zip bomb is stopped at the cap.
    with archive.open(member) as stream:
        data = stream.read(min(cap, member.file_size) + 1)
    if len(data) > cap or len(data) != member.file_size:
        raise _refused(
            Code.TOO_LARGE,
            f"{shown(member.filename)} is above the cap of {cap} bytes, or not of the size in the zip's directory",
        )
    return data


def _sha256(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def _refused(code: Code, message: str) -> FileRefused:
    return FileRefused([Reason(code, "", message)])
