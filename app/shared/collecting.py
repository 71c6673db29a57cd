"""What nothing refers to any more is found and removed, while the service runs.

Killed processes leave such things behind: each of them was to be written, or removed, right after something else. So
nothing counts as left over that is younger than an hour, and before anything goes it is looked once more whether what
it belongs to is there: what was accepted first, how it ended last, for an end is written before what was accepted goes.

Keys, secrets, records of models and the id of the store are never looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from redis import Redis

from app.shared import training_keys
from app.shared.accepted import TOLD_FOR
from app.shared.disposal import GRACE, NEEDED_BY, Disposal, digest_of, main_key
from app.shared.errors import Deleted, Unreadable
from app.shared.forgetting import Forgetting, beside
from app.shared.generation_keys import folder_of, manifest_key, pending_key
from app.shared.lifecycle import live_key, now
from app.shared.rebuild import read_all
from app.shared.records import DELETED, MANIFEST, TOMBSTONE, TRAINED, UPLOAD, VERSION
from app.shared.settings import Settings
from app.shared.storage import Storage

Leftover = tuple[str, Callable[[], bool]]  # a key, and whether it still belongs to nothing


@dataclass
class Tally:
    """How many objects of a kind went, or would go, and how many bytes that is; later: how many go in an hour."""

    kind: str
    count: int = 0
    bytes: int = 0
    later: int = 0


class Collecting:
    """Finds what is left over. Raises Unavailable and RedisError.

    clock: the time now.
    """

    def __init__(self, storage: Storage, redis: Redis, settings: Settings, clock: Callable[[], datetime] = now) -> None:
        self._storage, self._redis, self._clock = storage, redis, clock
        self._forgetting = Forgetting(storage, redis, settings.keep_live_s)
        self._disposal = Disposal(storage, clock)

    def run(self, dry: bool = False) -> list[Tally]:
        """Remove what is left over; dry: tell only what that would be."""
        tallies = [self.forgotten(dry), self.removed(dry)]
        for kind, find in (
            ("halves of uploads", self._uploads),
            ("of generations that are not there", self._generations),
            ("of trainings that are not there", self._trainings),
            ("versions of deleted names", self._versions),
            ("what says whose something is", self._owned),
            ("tries of `radiata doctor`", self._tries),
        ):
            tally = Tally(kind)
            for key, still in find():
                if still():
                    self._take(tally, key, dry)
            tallies.append(tally)
        return [*tallies, *(self._bytes(kind, dry) for kind in NEEDED_BY)]

    def _take(self, tally: Tally, key: str, dry: bool) -> None:
        size = self._storage.size(key)
        if size is not None:
            tally.count += 1
            tally.bytes += size
            if not dry:
                self._storage.delete(key)

    def _old(self, folder: str) -> list[str]:
        return [key for key, when in self._storage.entries(folder) if self._clock() - when > GRACE]

    def _is_none(self, pending: str, ended: str) -> bool:
        return not self._storage.exists(pending) and not self._storage.exists(ended)

    # Kinds

    def forgotten(self, dry: bool) -> Tally:
        """Go on with deletions that somebody began; forget those of long ago."""
        tally = Tally("deletions begun, or older than a week")
        old = self._old("deleted")
        others = {
            one
            for folder in ("pending", "starred", "owned/generations", "unindexed/ended")
            for one in self._storage.keys(folder)
        }
        for key, text in zip(old, read_all(self._storage.get, old), strict=True):
            generation_id = key.split("/")[1].removesuffix(".json")
            end = manifest_key(generation_id)
            try:
                deleted = DELETED.read(key, text or b"")
                ended = MANIFEST.get(self._storage, end)
            except Deleted:
                left = [one for one in self._storage.keys(folder_of(generation_id)) if one != end]
                left += others & {*beside(deleted)}
                if self._clock() - deleted.deleted_at > TOLD_FOR:
                    left += [end, key]
                    if not dry:
                        self._redis.delete(live_key(generation_id))  # its Idempotency-Key may be used anew
                if not dry:
                    self._forgetting.note_used(deleted)
                for one in left:
                    self._take(tally, one, dry)
                if left and not dry:
                    self._forgetting.clear(deleted)  # in Redis too
                continue
            except Unreadable:
                continue
            if ended and ended.generation.created_at == deleted.created_at:  # whoever deleted it died right before that
                tally.count += 1
                if not dry:
                    self._forgetting.go_on(deleted)
            elif self._no_generation(generation_id):
                self._take(tally, key, dry)
        return tally

    def removed(self, dry: bool) -> Tally:
        """Go on with removals of trainings that somebody began; forget those of long ago."""
        tally = Tally("trainings removed, or longer than a week ago")
        for key in self._old("trainings"):
            if (match := TRAINED.keys.fullmatch(key)) and (since := self._removed_at(key)):
                rest = [one for one in self._storage.keys(training_keys.folder_of(match[1])) if one != key]
                last = [key] if self._clock() - since > TOLD_FOR else []  # what was accepted would be done anew without
                for one in (training_keys.pending_key(match[1]), *rest, *last):
                    self._take(tally, one, dry)
        return tally

    def _removed_at(self, key: str) -> datetime | None:
        try:
            with suppress(Unreadable):
                TRAINED.get(self._storage, key)
        except Deleted as deleted:
            return deleted.at
        return None

    def _uploads(self) -> Iterator[Leftover]:
        old = self._old("uploads")
        for key in old:
            if not UPLOAD.keys.fullmatch(key):
                record = f"uploads/{key.split('/')[1].partition('.')[0]}.json"
                yield key, lambda record=record: not self._storage.exists(record)

    def _generations(self) -> Iterator[Leftover]:
        for key in [*self._old("generations"), *self._old("starred")]:
            one = key.split("/")[1]
            if not key.endswith("/manifest.json"):
                yield key, lambda one=one: self._no_generation(one)

    def _no_generation(self, generation_id: str) -> bool:
        return self._is_none(pending_key(generation_id), manifest_key(generation_id))

    def _trainings(self) -> Iterator[Leftover]:
        for key in self._old("trainings"):
            one = key.split("/")[1]
            yield key, lambda one=one: self._is_none(training_keys.pending_key(one), training_keys.manifest_key(one))

    def _versions(self) -> Iterator[Leftover]:
        last = dict[str, int]()
        for key in self._old("names"):
            if match := VERSION.keys.fullmatch(key):
                name = match[1]
                if name not in last:
                    try:
                        found = TOMBSTONE.get(self._storage, f"names/{name}/deleted.json")
                    except Unreadable:
                        found = None
                    last[name] = found.last_version if found else 0
                if int(match[2]) <= last[name]:
                    yield key, lambda: True

    def _owned(self) -> Iterator[Leftover]:
        for key in self._old("owned"):
            _, kind, *_, last = key.split("/")
            if kind == "generations":
                yield key, lambda one=last: self._no_generation(one)
            else:
                yield key, lambda one=last: not self._storage.exists(f"pictures/{one}.png")

    def _tries(self) -> Iterator[Leftover]:
        return ((key, lambda: True) for key in self._old("doctor"))

    def _bytes(self, kind: str, dry: bool) -> Tally:
        """Note which bytes nothing needs; remove those of which that has been so for an hour."""
        tally, noted = Tally(f"{kind} that nothing needs"), self._disposal.noted()
        needed, at = self._disposal.needed(kind), self._clock()
        for key in self._old(kind):
            main = main_key(kind, digest_of(key))
            if digest_of(key) in needed:
                continue
            if at - noted.get(main, at) > GRACE:
                tally.count += 1
                tally.bytes += self._storage.size(key) or 0
                continue
            tally.later += 1
            if main not in noted and not dry:
                self._disposal.note(main)
        if not dry:
            self._disposal.run()
        return tally
