"""Files of a hub's repository into a folder of their own, each whole and under its hash, gone on with after a kill.

What is there of an unfinished file lies beside the others under the file's hash, and the next try asks for the rest:
`huggingface_hub` itself begins anew. A file that its cache has is not fetched again.
"""

import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, tqdm

from app.shared.linking import place
from app.shared.models_file import FETCHED
from workers.models.hub import Chosen, NotFetched, told

UNFINISHED = ".part"
SHA256 = re.compile(r"[0-9a-f]{64}")  # as a hub names a large file
SPARE_BYTES = 256 * 1024**2  # left free on a disk

Tell = Callable[[str, int, int], object]  # name of a file, bytes of it that are there, bytes of it


def fetch(what: Chosen, folder: Path, token: str | None, tell: Tell) -> Path:
    """Fetch the files that a folder has not yet; return the folder, or the one file. Raises NotFetched, OSError.

    tell: called as bytes arrive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: size for name, size in what.files.items() if not _is_there(folder / name, size)}
    begun = sum(file.stat().st_size for file in folder.rglob(f"*{UNFINISHED}"))
    needed, free = sum(wanted.values()) - begun, shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise NotFetched(
            f"{what.wanted.repository} needs {needed / 1e9:.1f} GB more in {folder}, and its disk has {free / 1e9:.1f} "
            "GB free: free some, or set RADIATA_DATA_DIR to a folder on a larger one"
        )
    said = {"repository": what.wanted.repository, "commit": what.commit, "files": sorted(what.files)}
    (folder / FETCHED).write_text(json.dumps(said, indent=2))
    for name, size in what.files.items():
        if name in wanted:
            with told(what.wanted, token):
                _fetch(what, name, folder / name, token, lambda done, name=name, size=size: tell(name, done, size))
        tell(name, size, size)
    return folder / what.wanted.file if what.wanted.file else folder


def _fetch(what: Chosen, name: str, target: Path, token: str | None, tell: Callable[[int], object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    cached = try_to_load_from_cache(what.wanted.repository, name, revision=what.commit)
    if isinstance(cached, str):
        place(Path(cached).resolve(), target)
        return
    url = hf_hub_url(what.wanted.repository, name, revision=what.commit)
    known = get_hf_file_metadata(url, token=token)
    headers = build_hf_headers(token=token)
    if urlsplit(known.location).netloc != urlsplit(url).netloc:  # where the bytes lie nobody needs the token
        headers.pop("authorization", None)
    tag = known.etag or what.commit
    unfinished = target.with_name(f".{hashlib.sha256(tag.encode()).hexdigest()[:32]}{UNFINISHED}")
    with _alone(unfinished) as file:
        there = file.seek(0, 2)
        http_get(
            known.location,
            file,
            resume_size=there,
            headers=headers,
            expected_size=known.size,
            tqdm_class=_telling(tell),
        )
        file.seek(0)
        if SHA256.fullmatch(tag) and hashlib.file_digest(file, "sha256").hexdigest() != tag:
            unfinished.unlink()
            raise NotFetched(
                f"{name} of {what.wanted.repository} came with other bytes than the hub says: fetch it again"
            )
        unfinished.replace(target)


@contextmanager
def _alone(unfinished: Path) -> Iterator[BufferedRandom]:
    """Open a file to go on with, which no other process writes meanwhile."""
    with unfinished.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotFetched(f"another process fetches into {unfinished.parent}: wait for it") from error
        yield file


def _is_there(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _telling(tell: Callable[[int], object]) -> type[tqdm]:
    """Return a progress bar that shows nothing, and tells how far it is."""

    class Telling(tqdm):
        def __init__(self, *arguments: Any, initial: int = 0, **options: Any) -> None:
            self._done = initial
            super().__init__(*arguments, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            tell(self._done)
            return None

    return Telling
