"""This machine's index of generations kept up with the segments in storage.

It is begun when a process starts, and made by one process of a data folder at a time; whoever goes on finds what was
made before. Segments are read the newest first, so the newest pages are there long before the whole is.
"""

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from secrets import token_hex
from threading import Lock, RLock, Thread

import structlog
from redis import Redis
from redis.exceptions import RedisError

from app.shared.accepted import JobTombstone
from app.shared.errors import RadiataError, Unavailable, Unreadable
from app.shared.identity import store_id
from app.shared.index_database import ENDED, LAST, VERSION, IndexDatabase, place_of
from app.shared.rebuild import read_all
from app.shared.records import DELETED, MANIFEST, PENDING, deleted_key, tell
from app.shared.segments import LINES, Entry, Segments, entries_of, newest_first
from app.shared.storage import Storage
from app.shared.wire.generation import Generation

log = structlog.get_logger()

CHANGED = "radiata:segments"
FEW = 20  # segments that are read while somebody waits
AT_ONCE = 32  # segments that are held in memory
PATIENCE_S = 2.0  # for which a request waits for an index that is made
CLOCKS_S = 3600.0  # by which the clocks of two machines differ at most, where pages are given of what is not whole
OTHERS_S = 1.0  # between two looks at what another process makes
LONGEST_S = 60  # after which whoever is told to come again does so at last


class Unfinished(Unavailable):
    """An answer needs what is not in the index yet."""


class Making:
    """How far an index is that is made: segments that are in it, and those that are not, newest first."""

    def __init__(self) -> None:
        self.total, self._began, self._had = 0, 0.0, 0
        self._left: list[str] = []
        self._known = False  # whether there was a look at what there is
        self.adopting = False  # what ended before there were segments is still to be found

    def begin(self, adopting: bool) -> None:
        """Say that it is begun."""
        self.adopting = adopting
        self._began, self._had = time.monotonic(), self.total - len(self._left)

    def left(self, names: Iterable[str], total: int) -> None:
        """Say what is still to be read; total: of all that there is."""
        self._left, self.total, self._known = newest_first(names), total, True

    @property
    def since(self) -> int:
        """The place from which on everything is in it."""
        return LAST if self.adopting or not self._known else last_place(self._left[0]) if self._left else 0

    @property
    def part(self) -> float:
        """How much of it is made, from 0 to 1."""
        made = self.total - len(self._left)
        return made / self.total if self.total else float(self._known)

    @property
    def seconds(self) -> int:
        """How long the rest takes, at most `LONGEST_S`."""
        made = self.total - len(self._left) - self._had
        each = (time.monotonic() - self._began) / made if made else LONGEST_S
        return max(1, min(LONGEST_S, round(each * len(self._left))))

    def __str__(self) -> str:
        made = f"{self.total - len(self._left):,} of {self.total:,} segments are in it, {self.part:.0%}"
        return f"{made}; what ended before there were segments is looked for" if self.adopting else made


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
        self._taking = RLock()  # held by whoever looks for segments and reads them
        self._seen = ""
        self._builder: Thread | None = None
        self._failed: RadiataError | None = None
        self._adopted = False
        self.making = Making()

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

    def begin(self) -> None:
        """Have it made from now on, if it is not: nobody waits for that."""
        with suppress(RadiataError, sqlite3.Error):  # whoever asks for a list is told
            self.newest("")

    def all(self, told: str) -> IndexDatabase:
        """The file with all segments that there are; told: what Redis says, or nothing. Raises Unavailable."""
        database, since = self.newest(told)
        if since:
            self.wait()
            database, since = self.newest(told)
        if since:
            raise self.unfinished()
        return database

    def newest(self, told: str) -> tuple[IndexDatabase, int]:
        """The file, and from which place on it has all segments: 0 where it has all that there are.

        Raises Unavailable.
        """
        if told and told == self._seen:
            return self.database, 0
        with self._lock:
            if self._builder is not None and not self._builder.is_alive():
                self._builder = None
                if self._failed:
                    raise self._failed
            if self._builder is None:
                told = told or self._word()
                with self._taking:
                    missing = self._missing()
                    if len(missing) <= FEW and self._has_adopted:
                        self._take(missing)
                        self._seen = told
                        return self.database, 0
                self._failed = None
                self.making.begin(adopting=not self._has_adopted)
                builder = Thread(target=self._build, daemon=True, name="index")
                builder.start()
                self._builder = builder
        return self.database, self.making.since

    def wait(self) -> None:
        """Wait a moment for what is made."""
        with self._lock:
            builder = self._builder
        if builder is not None:
            builder.join(PATIENCE_S)

    def unfinished(self) -> Unfinished:
        """What is said where an answer needs what is not in it yet."""
        message = f"the index of generations is being made: {self.making}; ask again in a moment"
        return Unfinished("index_building", message, retry_after_s=self.making.seconds)

    def _build(self) -> None:
        try:
            began = time.monotonic()
            with self._taking, self._alone():
                missing = self._missing()
                log.info("index_making", segments=self.making.total, missing=len(missing))
                self._take(missing)
                if not self._has_adopted:
                    self.adopt()
                self.making.adopting = False
            log.info("index_made", segments=self.making.total, seconds=round(time.monotonic() - began, 1))
        except RadiataError as error:
            self._failed = error
        except BaseException as error:  # whoever asks for a list is told
            log.exception("index_failed")
            self._failed = unusable(error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the one process that makes it; meanwhile what another has made is looked at."""
        with self.database.path.with_suffix(".making").open("ab") as file:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                self._missing()
                time.sleep(OTHERS_S)
            yield

    def _word(self) -> str:
        """What Redis says from now on, before segments are looked for; nothing where it is away."""
        with suppress(RedisError):
            self._redis.set(CHANGED, token_hex(8), nx=True)
            return (self._redis.get(CHANGED) or b"").decode(errors="replace")  # type: ignore[union-attr]
        return ""

    def told(self) -> str:
        """What Redis says of segments, for `all`; nothing where it is away."""
        with suppress(RedisError):
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
        missing = {name: one for one, name in written.items() if one not in known}
        self.making.left(missing, len(written))
        return {missing[name]: name for name in newest_first(missing)}

    def _take(self, missing: dict[str, str]) -> None:
        while missing:
            names, gone = list(missing), list[str]()
            for at in range(0, len(names), AT_ONCE):
                some = names[at : at + AT_ONCE]
                texts = read_all(self.segments.text, [missing[one] for one in some])
                for place, (one, text) in enumerate(zip(some, texts, strict=True), at + 1):
                    if text is None:
                        gone.append(one)
                    else:
                        self.database.take(entries_of(text), one)
                    self.making.left([missing[one] for one in (*gone, *names[place:])], self.making.total)
            # One that has gone meanwhile: its lines are in another
            missing = self._missing() if gone else {}

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
        with self._taking:
            self._take(self._missing())

    def deleted(self) -> set[str]:
        """Ids of all that were deleted in the last week."""
        return set(DELETED.ids(self._storage, "deleted"))

    def gone(self, generation_id: str) -> JobTombstone | None:
        """What is left of a generation that was deleted in the last week."""
        return DELETED.get(self._storage, deleted_key(generation_id))

    def pending(self) -> set[str]:
        """Ids of all that was accepted and has not ended."""
        return set(PENDING.ids(self._storage, "pending"))


def _pieces(ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(ids)
    while some := list(islice(left, LINES)):
        yield some


def last_place(segment: str) -> int:
    """The last place that a generation can have that a segment of this name says something of.

    It was accepted before it was gathered, on that day by the clock of whoever did; clocks may differ.
    """
    day = datetime.fromisoformat(segment[:10]).replace(tzinfo=UTC)
    return place_of("f" * 32, day.timestamp() + 86_400 + CLOCKS_S)


def unusable(error: BaseException) -> Unavailable:
    """What is said where the file fails."""
    why = "this Python's sqlite3 has no FTS5" if "fts5" in str(error) else f"{type(error).__name__}: {error}"
    return Unavailable("index_unavailable", f"the index of generations in the data folder cannot be used: {why}")
