"""A large file in a second place without a second copy of its bytes, where the file system can do that.

A *reflink* shares the blocks until one side is written to (Btrfs, XFS, APFS): neither can change the other. A *hard
link* is a second name of the same file: it outlives the first name, but not a program that writes into the file in
place. Everything here that is kept so is known by its hash, and read with it, so such a change is an error and never
another picture. A symbolic link is never made: it ends with the first name, and may mean other bytes tomorrow.
"""

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

CLONE = 0x40049409  # Linux: FICLONE


def place(source: Path, target: Path) -> str:
    """Put a file in a second place, whole or not at all; say how: `reflink`, `hard link` or `copy`. Raises OSError."""
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        how = _placed(source.resolve(), unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return how


def _placed(source: Path, target: Path) -> str:
    with source.open("rb") as bytes_, target.open("xb") as clone, suppress(OSError):
        fcntl.ioctl(clone.fileno(), CLONE, bytes_.fileno())
        return "reflink"
    target.unlink()
    with suppress(OSError):
        os.link(source, target)
        return "hard link"
    shutil.copyfile(source, target)
    return "copy"
