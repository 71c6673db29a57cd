"""This machine's index of generations kept up with the segments in storage."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from secrets import token_hex
from threading import Lock, Thread

import structlog
from redis import Redis
from redis.exceptions import RedisError

from app.shared.accepted import DeletedGeneration
from app.shared.errors import RadiataError, Unavailable, Unreadable
from app.shared.identity import store_id
from app.shared.index_database import ENDED, VERSION, IndexDatabase
from app.shared.rebuild import read_all
from app.shared.records import DELETED, MANIFEST, PENDING, deleted_key, tell
from app.shared.segments import LINES, Entry, Segments
from app.shared.storage import Storage
from app.shared.wire.generation import Generation

log = structlog.get_logger()

CHANGED = "radiata:segments"
FEW = 20  # segments that are read while somebody waits
AT_ONCE = 32  # segments that are held in memory
PATIENCE_S = 10.0  # for which a request waits for an index that is made


class Following:
    """Reads segments that are new, of which every process learns by one key of Redis that says another word then.

    read: a generation of whoever; None for what is none, was deleted, or cannot be read.
    """

    def __init__(
        self, storage: Storage, redis: Redis, data_dir: Path, read: Callable[[str], Generation | None]
    ) -> None:
        self.segments = Segments(storage)
        self._storage, self._redis, self._data_dir, self._read = storage, redis, data_dir, read
        self._lock = Lock()
        self._seen = ""
        self._builder: Thread | None = None
        self._failed: RadiataError | None = None
        self._adopted = False

    @cached_property
    def database(self) -> IndexDatabase:
        """The file; raises Unavailable where it cannot be made."""
        folder = self._data_dir.resolve() / "index"
        try:
            which = store_id(self._storage)
        except Unreadable:
            which = sha256(self._storage.url.encode()).hexdigest()[:32]
        try:
            return IndexDatabase(folder / f"{which}-{VERSION}.sqlite")
        except (sqlite3.Error, OSError) as error:
            raise unusable(error) from error

    def all(self, told: str) -> IndexDatabase:
        """The file with all segments that there are; told: what Redis says, or nothing. Raises Unavailable."""
        while not (told and told == self._seen):
            with self._lock:
                if self._builder is None:
                    if not told:
                        told = self._word()
                    missing = self._missing()
                    if len(missing) <= FEW and self._has_adopted:
                        self._take(missing)
                        self._seen = told
                        break
                    self._failed = None
                    self._builder = Thread(target=self._build, daemon=True, name="index")
                    self._builder.start()
                builder = self._builder
            builder.join(PATIENCE_S)
            if builder.is_alive():
                raise Unavailable("index_building", "the index of generations is being made; ask again in a moment")
            with self._lock:
                self._builder = None
            if self._failed:
                raise self._failed
        return self.database

    def _build(self) -> None:
        try:
            self._take(self._missing())
            if not self._has_adopted:
                self.adopt()
        except RadiataError as error:
            self._failed = error
        except Exception as error:
            log.exception("index_failed")
            self._failed = unusable(error)

    def _word(self) -> str:
        """What Redis says from now on, before segments are looked for; nothing where it is away."""
        with suppress(RedisError):
            self._redis.set(CHANGED, token_hex(8), nx=True)
            return (self._redis.get(CHANGED) or b"").decode(errors="replace")  # type: ignore[union-attr]
        return ""

    def rewrite(self, segment: str, deleted: set[str]) -> None:
        """Have another segment in the place of one, which says of these only that they were deleted; as `write`."""
        name, when = segment.partition(" ")[0], datetime.now(UTC)
        if entries := self.segments.read(name):
            self.write([one.deleted(when) if one.id in deleted and one.deleted_at is None else one for one in entries])
            self.segments.delete(name)

    def tell(self) -> None:
        """Have every process look for other segments; raises RedisError."""
        self._redis.set(CHANGED, token_hex(8))

    def tell_of(self, error: Unreadable) -> None:
        """Log a record that cannot be read."""
        tell(self._redis, error)

    def _missing(self) -> dict[str, str]:
        """Names of segments that are not in the file, by which each is: a name may come again after a restore."""
        written = {f"{name} {when.timestamp()}": name for name, when in self.segments.written().items()}
        known = self.database.segments()
        if gone := known - written.keys():
            self.database.without(gone)
        return {one: name for one, name in sorted(written.items()) if one not in known}

    def _take(self, missing: dict[str, str]) -> None:
        while missing:
            names = list(missing)
            for at in range(0, len(names), AT_ONCE):
                some = names[at : at + AT_ONCE]
                for one, entries in zip(
                    some, read_all(self.segments.read, [missing[one] for one in some]), strict=True
                ):
                    if entries is not None:
                        self.database.take(entries, one)
            # One that has gone meanwhile: its lines are in another
            missing = {} if missing.keys() <= self.database.segments() else self._missing()

    # What ended before there were segments, or while older code ended it

    @property
    def _has_adopted(self) -> bool:
        self._adopted = self._adopted or self.segments.adopted
        return self._adopted

    def adopt(self) -> int:
        """Write segments of all that has ended and is nowhere noted; how many that were. Raises Unavailable."""
        ids = self._strays()
        count = 0
        for some in _pieces(ids):
            found = [one for one in read_all(self._read, some) if one is not None and one.status.ended]
            count += len(found)
            if found:
                self.write([Entry.of(one) for one in found])
        self.segments.adopt()
        self._adopted = True
        return count

    def _strays(self) -> Iterator[str]:
        noted = self.segments.noted()
        manifests = (MANIFEST.keys.fullmatch(key) for key in self._storage.keys("generations"))
        for some in _pieces(match[1] for match in manifests if match):
            known = self.database.of(some)
            yield from (one for one in some if one not in noted and not (one in known and known[one].state == ENDED))

    def write(self, entries: list[Entry]) -> None:
        """Write a segment, and take it in; raises RedisError where others cannot be told: then it is written again."""
        self.segments.write(datetime.now(UTC).date().isoformat(), entries)
        self.tell()
        self._take(self._missing())

    def deleted(self) -> set[str]:
        """Ids of all that were deleted in the last week."""
        return set(DELETED.ids(self._storage, "deleted"))

    def gone(self, generation_id: str) -> DeletedGeneration | None:
        """What is left of a generation that was deleted in the last week."""
        return DELETED.get(self._storage, deleted_key(generation_id))

    def pending(self) -> set[str]:
        """Ids of all that was accepted and has not ended."""
        return set(PENDING.ids(self._storage, "pending"))


def _pieces(ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(ids)
    while some := list(islice(left, LINES)):
        yield some


def unusable(error: Exception) -> Unavailable:
    """What is said where the file fails."""
    why = "this Python's sqlite3 has no FTS5" if "fts5" in str(error) else f"{type(error).__name__}: {error}"
    return Unavailable("index_unavailable", f"the index of generations in the data folder cannot be used: {why}")
