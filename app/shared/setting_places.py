"""Whether the folders and the object storage that settings name can be used, tried as they are read."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit


def try_folder(folder: Path) -> None:
    """Raise ValueError unless a folder can be made, by making one beside where it begins to be missing."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        TemporaryDirectory(dir=there, prefix=".radiata-").cleanup()
    except OSError as error:
        raise ValueError(f"{str(folder)!r} cannot be made or written: {error.strerror}") from error


def try_storage(url: str) -> None:
    """Raise ValueError for what is no object storage that several processes share, a folder included."""
    # Loaded where storage is named: most commands of the command line have no need of it
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store, from_url

    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path.strip("/") and parts.netloc in ("", "localhost"):
        return try_folder(Path(unquote(parts.path)))
    try:
        if parts.scheme in ("", "file"):
            raise ValueError("a folder is written file:///its/path")
        shared = isinstance(from_url(url), AzureStore | GCSStore | S3Store)
    except (BaseError, ValueError) as error:
        why = re.sub(r"^Generic .*? error: ", "", str(error).splitlines()[0])
        raise ValueError(f"{url!r} is no object storage (s3://…, gs://…, az://…, file:///…): {why}") from error
    if not shared:
        raise ValueError(f"{url!r} is no store that several processes share")
