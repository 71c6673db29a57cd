"""Adapters that a file names, found among those that whoever asks may use: by their hashes, else by their names.

Three hashes are in use (`lycoris/files/safetensors_file.py`): sha256 of the file, its first 10 hex digits (AutoV2), and
the first 12 of the sha256 of its tensors alone (AutoV3), which A1111 writes into infotext. What is named with a hash is
found by that or not at all: another file may have its name.
"""

import re
from typing import Literal, NamedTuple

from app.shared.catalog import Catalog
from app.shared.errors import Gone, NotFound, Unreadable
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.values import OWNED_REF_PATTERN

By = Literal["sha256", "autov2", "autov3", "name"]
WHOLE = 64
AUTOV3 = 12
HEX = re.compile(r"(?:0x)?([0-9a-f]{8,64})")  # of fewer digits, two files may well share the first


class Known(NamedTuple):
    """A version of an adapter, and by what it was found."""

    version: AdapterVersion
    by: By


def known_by(catalog: Catalog, digest: str, name: str) -> Known | None:
    """Return the adapter that has a hash, or, where that is empty, a name; None where there is none.

    By a short hash, the newest version of each name is looked at, that of the same name first.
    """
    if not digest:
        return _named(catalog, name)
    found = HEX.fullmatch(digest.lower())
    if not found:
        return None
    if len(found[1]) == WHOLE and (version := _resolved(catalog, f"sha256:{found[1]}")):
        return Known(version, "sha256")
    versions = sorted(catalog.newest(), key=lambda one: one.name != name)
    by: By = "sha256" if len(found[1]) > AUTOV3 - 2 else "autov2"
    begins = (one for one in versions if one.sha256.startswith(found[1]))
    if len(found[1]) < WHOLE and (version := next(begins, None)):
        return Known(version, by)
    short = found[1][:AUTOV3]
    tensors = (one for one in versions if len(short) == AUTOV3 and _autov3(catalog, one) == short)
    return Known(version, "autov3") if (version := next(tensors, None)) else None


def _named(catalog: Catalog, name: str) -> Known | None:
    version = _resolved(catalog, name) if re.fullmatch(OWNED_REF_PATTERN, name) else None
    return Known(version, "name") if version else None


def _resolved(catalog: Catalog, ref: str) -> AdapterVersion | None:
    try:
        return catalog.resolve(ref)
    except (NotFound, Gone, Unreadable):
        return None


def _autov3(catalog: Catalog, version: AdapterVersion) -> str:
    """The short hash of its tensors alone, as its inspection noted it; empty where it did not."""
    try:
        return str(catalog.record(f"sha256:{version.sha256}").verdict.get("autov3") or "")
    except (NotFound, Gone, Unreadable):
        return ""
