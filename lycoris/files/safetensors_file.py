"""safetensors files: the header is checked here before any tensor is read, and no other format is read.

The format: eight bytes, the header's length n (little endian); n bytes of JSON, name -> {dtype, shape, data_offsets}
and `__metadata__`; the tensors' bytes. The safetensors library itself accepts duplicate names, odd names, empty
shapes and 100 MB of header; they are refused here, so that no two parsers can read one file differently.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lycoris.dialects import embeddings
from lycoris.errors import Code, FileRefused, Reason, shown

FILE_CAP = 4 << 30  # bytes; the largest adapters in the wild are about 2 GB
HEADER_CAP = 16 << 20  # bytes; real headers are below 2 MB
TENSOR_CAP = 20_000
AXIS_CAP = 1 << 31
AXES_CAP = 8
METADATA_CAP = 1 << 20  # bytes of one value; longer ones (thumbnails) are left out
NAME_CAP = 512  # characters
NAME = re.compile(r"[A-Za-z0-9_.*/ :\-]+")  # of a layer's tensor; an embedding has a word of its author's in its name
PLACES = re.compile(r"\.bias_(?:indices|size)$")  # indices of elements, and the size of a matrix
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16} | {
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # .pt, .ckpt, .bin
PICKLED = (
    "the file is a pickle (.pt, .ckpt, .bin), which can run code, and is not read; where you trust it, convert it: "
    "safetensors.torch.save_file(torch.load('it.pt', map_location='cpu', weights_only=True), 'it.safetensors')"
)
METADATA = "__metadata__"


@dataclass(frozen=True)
class Entry:
    """One tensor's row of the header; begin and end are bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A header that was checked and found sound, and the offset of the tensors' bytes in the file."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    left_out: tuple[str, ...]  # metadata too long to keep
    data_begin: int


@dataclass(frozen=True)
class Hashes:
    """The hashes of a file: sha256 identifies it here, the short ones are those of Civitai and A1111."""

    sha256: str  # of the whole file, 64 hex
    autov2: str  # its first 10 hex (Civitai, A1111)
    autov3: str  # sha256 of the tensors' bytes alone, first 12 hex: stays when the metadata is edited


def read_bytes(source: str | os.PathLike[str] | bytes, cap: int = FILE_CAP) -> bytes:
    """Return the bytes of an adapter file; raise FileRefused if there is none or it is over the cap.

    The file is read once and in full, so that the hashed bytes are the bytes used, even if it is replaced meanwhile.
    """
    if isinstance(source, bytes):
        size = len(source)
    else:
        try:
            with Path(source).open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                source = stream.read() if size <= cap else b""
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise FileRefused([Reason(Code.UNREADABLE, "", f"the file cannot be read: {error}")]) from error
    if size > cap:
        raise FileRefused([Reason(Code.TOO_LARGE, "", f"the file has {size} bytes, above the cap of {cap}")])
    return source


def hashes(data: bytes, header: Header, whole: str | None = None) -> Hashes:
    """Return the hashes of a file in memory; whole: the sha256 of the zip or folder that it came in."""
    whole = whole or hashlib.sha256(data).hexdigest()
    tensors = hashlib.sha256(memoryview(data)[header.data_begin :]).hexdigest()
    return Hashes(sha256=whole, autov2=whole[:10], autov3=tensors[:12])


def judge(data: bytes) -> Header:
    """Return the header of a file in memory; raise FileRefused with every reason against it."""
    return _judge(data[: 8 + HEADER_CAP], len(data))


def judge_file(path: str | os.PathLike[str]) -> Header:
    """Return the header of a file of any size without reading its tensors; raise FileRefused as `judge` does."""
    try:
        with Path(path).open("rb") as stream:
            return _judge(_start(stream), os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise FileRefused([Reason(Code.UNREADABLE, "", f"the file cannot be read: {error}")]) from error


def judge_names(names: Mapping[str, Any]) -> Header:
    """Return the header that a file with tensors of these names would have; raise FileRefused as `judge` does.

    names: tensor name -> shape, or anything with a `shape`, or {dtype, shape} as the JSON of a header has it,
    `__metadata__` included. Offsets are made up; a tensor without a dtype is float32, or int64 where only
    whole numbers make sense.
    """
    fields: dict[str, Any] = {}
    end = 0
    for name, given in names.items():
        if name == METADATA and isinstance(given, Mapping):
            fields[name] = dict(given)
            continue
        described: Mapping[str, Any] = (
            given if isinstance(given, Mapping) else {"shape": getattr(given, "shape", given)}
        )
        dtype: Any = described.get("dtype", "I64" if PLACES.search(name) else "F32")
        shape: Any = described.get("shape")
        shape = list(shape) if isinstance(shape, tuple) else shape
        known = isinstance(dtype, str) and dtype in DTYPES and _whole_numbers(shape, 1, AXIS_CAP)
        begin, end = end, end + (prod(shape) * DTYPES[dtype].itemsize if known else 0)
        fields[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(fields, default=str).encode()
    return _judge(len(header).to_bytes(8, "little") + header, 8 + len(header) + end)


def tensors_of(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a file whose header was checked, as stored; raise FileRefused if safetensors refuses it."""
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise FileRefused([Reason(Code.BAD_HEADER, "", f"safetensors refuses the file: {error}")]) from error


def _start(stream: BinaryIO) -> bytes:
    first = stream.read(8)
    return first + stream.read(min(int.from_bytes(first, "little"), HEADER_CAP))


def _judge(start: bytes, size: int) -> Header:
    if size < 8:
        raise _refused(Code.TRUNCATED, f"the file has {size} bytes, too few to be safetensors")
    length = int.from_bytes(start[:8], "little")
    # The brace first: a sound header of 640 bytes begins with the very bytes that a pickle begins with.
    if start[8:9] != b"{":
        if start.startswith(PICKLES):
            raise _refused(Code.NOT_SAFETENSORS, PICKLED)
        raise _refused(Code.NOT_SAFETENSORS, "the file is not safetensors")
    if length > HEADER_CAP:
        raise _refused(Code.TOO_LARGE, f"the header claims {length} bytes, above the cap of {HEADER_CAP}")
    if 8 + length > size:
        raise _refused(Code.TRUNCATED, f"the header claims {length} bytes, the file has {size}")
    pairs = _parse(start[8 : 8 + length])
    metadata, left_out = _metadata(pairs.pop(METADATA, {}))
    if len(pairs) > TENSOR_CAP:
        raise _refused(Code.TOO_LARGE, f"the file names {len(pairs)} tensors, above the cap of {TENSOR_CAP}")
    reasons: list[Reason] = []
    entries: dict[str, Entry] = {}
    for name, fields in pairs.items():
        found = list(_problems(name, fields))
        reasons += found
        if not found:
            entries[name] = Entry(fields["dtype"], tuple(fields["shape"]), *fields["data_offsets"])
    if not reasons:
        reasons = list(_gaps(entries, size - 8 - length))
    if reasons:
        raise FileRefused(reasons)
    return Header(entries, metadata, left_out, 8 + length)


def _parse(header: bytes) -> dict[str, Any]:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            seen: set[str] = set()
            twice.extend(name for name, _ in pairs if name in seen or seen.add(name))
        return names

    try:
        parsed = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, absurdly long numbers
        raise _refused(Code.BAD_HEADER, f"the header is not JSON: {shown(str(error))}") from error
    if twice:
        raise FileRefused([Reason(Code.DUPLICATE, shown(name), "is in the header twice") for name in twice])
    if not isinstance(parsed, dict):
        raise _refused(Code.BAD_HEADER, "the header is not a JSON object")
    return parsed


def _metadata(found: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _refused(Code.BAD_HEADER, "the metadata is not an object of strings")
    kept = {key: value for key, value in found.items() if len(key) + len(value) <= METADATA_CAP}
    return kept, tuple(shown(key) for key in found if key not in kept)


def _problems(name: str, fields: Any) -> Iterator[Reason]:
    subject = shown(name)
    if not _may_be_called(name):
        yield Reason(Code.BAD_NAME, subject, "is not a name that a tensor may have")
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        yield Reason(Code.BAD_HEADER, subject, "is not described by dtype, shape and data_offsets alone")
        return
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        yield Reason(Code.BAD_DTYPE, subject, f"is of dtype {shown(str(dtype))}, which no factor has")
        return
    if not _whole_numbers(shape, 1, AXIS_CAP) or len(shape) > AXES_CAP:
        yield Reason(Code.BAD_SHAPE, subject, f"has a shape that no tensor may have: {shown(str(shape))}")
        return
    if not _whole_numbers(offsets, 0, FILE_CAP << 8) or len(offsets) != 2:
        yield Reason(Code.BAD_OFFSETS, subject, f"has offsets that no file can have: {shown(str(offsets))}")
    elif offsets[1] - offsets[0] != prod(shape) * DTYPES[dtype].itemsize:
        yield Reason(Code.BAD_OFFSETS, subject, f"has {offsets[1] - offsets[0]} bytes for {dtype} {tuple(shape)}")


def _may_be_called(name: str) -> bool:
    if len(name) > NAME_CAP:
        return False
    if name.startswith(embeddings.EMBEDDING_PREFIX):
        return embeddings.spellable(name)
    return NAME.fullmatch(name) is not None and ".." not in name.split("/") and not name.startswith("/")


def _whole_numbers(found: Any, least: int, most: int) -> bool:
    return isinstance(found, list) and all(type(number) is int and least <= number <= most for number in found)


def _gaps(entries: Mapping[str, Entry], size: int) -> Iterator[Reason]:
    """Yield a reason wherever the tensors' bytes overlap, leave a hole, or do not end at the end of the file."""
    order = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))
    ends = [("", Entry("", (), 0, 0)), *order]
    for (_, before), (name, entry) in pairwise(ends):
        if entry.begin != before.end:
            yield Reason(
                Code.BAD_OFFSETS, name, f"begins at byte {entry.begin}, the tensor before ends at {before.end}"
            )
    if ends[-1][1].end != size:
        code = Code.TRUNCATED if ends[-1][1].end > size else Code.BAD_OFFSETS
        yield Reason(code, "", f"the tensors end at byte {ends[-1][1].end}, the file holds {size} bytes of them")


def _refused(code: Code, message: str) -> FileRefused:
    return FileRefused([Reason(code, "", message)])
