"""A folder of adapters as other tools have it, into the service: by hash, so that it can go on after a kill.

Where the service's store is a folder of this machine, a file is linked into it, not sent and not copied
(`app/shared/linking.py` says how, and why no symbolic link is ever made).
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from app.commands.client import Client
from app.commands.sidecars import Sidecars, sidecars_of
from app.shared.errors import RadiataError
from app.shared.identity import KEY as STORE
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.text import called
from app.shared.uploads import bytes_key
from app.shared.wire.adapter import Visibility
from radiata_client import Refused

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Outcome:
    """What became of one file, and a line about it."""

    file: Path
    what: Literal["added", "there", "refused"]
    line: str


def adapters_in(folder: Path) -> list[Path]:
    """Return the files of adapters in a folder and those below it, by path; only safetensors are adapters."""
    return sorted(file for file in folder.rglob(f"*{SUFFIX}") if file.is_file())


def add_all(
    client: Client, files: list[Path], settings: Settings, visibility: Visibility | None = None
) -> Iterator[Outcome]:
    """Add each file that the service does not have yet, and say what became of it. Raises Unreachable."""
    store = _store(settings)
    for file in files:
        try:
            yield _added(client, file, store, visibility)
        except Refused as refused:
            reasons = "; ".join(_reason(one) for one in refused.errors[:3])
            more = f" and {len(refused.errors) - 3} more" if len(refused.errors) > 3 else ""
            yield Outcome(file, "refused", f"{refused}{f' ({reasons}{more})' if reasons else ''}")
        except (OSError, RadiataError) as error:
            yield Outcome(file, "refused", f"cannot be read or linked: {error}")


def _added(client: Client, file: Path, store: Storage | None, visibility: Visibility | None) -> Outcome:
    with file.open("rb") as bytes_:
        sha256 = hashlib.file_digest(bytes_, "sha256").hexdigest()
    if known := client.bytes_known(sha256):
        return Outcome(file, "there", f"is {known['name']}:{known['version']} already")
    name = _free(client, called(file.name), sha256)
    beside = sidecars_of(file)
    cover, why = _kept(client, beside.cover)
    how, record = "sent", None
    if store:
        how, record = _linked(client, file, store, name, beside, cover, visibility)
    record = record or client.upload(file, name, beside.text, [], cover, visibility, beside.image_encoder)
    verdict = record.get("verdict") or {}
    found = ", ".join(map(str, verdict.get("algorithms") or [])) or record.get("kind", "adapter")
    said = [f"{len(beside.words)} trigger words"] * bool(beside.words) + [f"a cover{why}"] * bool(beside.cover)
    line = f"{record['name']}: {found}, fits {', '.join(record['fits'])}, {record['size_bytes'] / 1e6:.1f} MB, {how}"
    return Outcome(file, "added", line + (f"; beside it {', '.join(said)}" if said else ""))


def _kept(client: Client, cover: Path | None) -> tuple[str | None, str]:
    """Have a cover decoded and kept as every picture is; return its ref, or None and why: an adapter does without."""
    try:
        return (client.picture(cover)["ref"] if cover else None), ""
    except (Refused, OSError) as error:
        return None, f" that is not kept ({error})"


def _free(client: Client, name: str, sha256: str) -> str:
    """Return the name, or one with the hash in it where other bytes have it: a folder's files are no versions."""
    return name if client.known(name) is None else f"{name}-{sha256[:7]}"


def _linked(
    client: Client,
    file: Path,
    store: Storage,
    name: str,
    beside: Sidecars,
    cover: str | None,
    visibility: Visibility | None,
) -> tuple[str, dict[str, Any] | None]:
    """Link a file into the store and have it judged; None where the service has another store."""
    upload_id = secrets.token_hex(16)
    how = store.take(bytes_key(upload_id), file)
    record = None
    try:
        record = client.judge_placed(upload_id, name, beside.text, cover, visibility, beside.image_encoder)
    finally:
        if record is None:  # judged, the service clears it away itself; so it does after an hour
            store.delete(bytes_key(upload_id))
    return (how or "sent", record) if record else ("sent", None)


def _store(settings: Settings) -> Storage | None:
    """Return the store of this machine; None where there is none yet, or it is elsewhere."""
    url = settings.store_url
    if not url.startswith("file:") or not (Path(unquote(urlsplit(url).path)) / STORE).is_file():
        return None
    return Storage(url)


def _reason(reason: dict[str, Any]) -> str:
    about = reason.get("subject") or reason.get("field")
    return f"{about}: {reason.get('message')}" if about else str(reason.get("message"))
