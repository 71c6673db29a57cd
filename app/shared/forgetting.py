"""Generations that have ended are forgotten: pictures, end, live state, star.

First Redis is told, for without it a copy of the end would go on being shown. Then `deleted/<id>.json` says that it
is to go, and the same record takes the place of the end, at its key. That decides: from then on it is answered 410,
no worker that comes late ends it anew, and nobody sees an end whose pictures are gone. The rest follows, and is found
by `radiata gc` (`app/shared/collecting.py`), or by being asked once more, should whoever was at it die. The two records
go after a week: then there is no such generation.

A webhook that is due by then is not called any more: what it would tell of is gone. One that was made stays known.

| Redis key | field | what |
|---|---|---|
| `radiata:live:<id>` | `deleted` | it was, or is being: no end is written here any more; `final` is that record |
"""

from contextlib import suppress

from redis import Redis
from redis.client import Pipeline

from app.shared import index
from app.shared.accepted import JobTombstone
from app.shared.errors import Deleted, Unreadable
from app.shared.events import stream_key
from app.shared.generation_keys import folder_of, manifest_key, pending_key
from app.shared.lifecycle import live_key, now
from app.shared.owners import owned_generation_key
from app.shared.records import DELETED, MANIFEST, deleted_key
from app.shared.segments import Entry, Segments, ended_key, used_by
from app.shared.stars import Stars, star_key
from app.shared.storage import Storage
from app.shared.wire.generation import Generation

FAREWELL_S = 60  # that its events stay for those who follow it

# KEYS: live state; ARGV: its status, its end. Answers 0 where it was deleted meanwhile: whoever ended it, or saw that
# it had, comes late.
REMEMBER = """
if redis.call('HEXISTS', KEYS[1], 'deleted') == 1 then return 0 end
return redis.call('HSET', KEYS[1], 'status', ARGV[1], 'final', ARGV[2])
"""


def remember_end(pipe: Pipeline, generation_id: str, status: str, text: bytes) -> None:
    """Write how a generation ended into its live state, unless it was deleted."""
    pipe.eval(REMEMBER, 1, live_key(generation_id), status, text)


class Forgetting:
    """Deletes generations that have ended. Raises Unavailable."""

    def __init__(self, storage: Storage, redis: Redis, keep_live_s: int) -> None:
        self._storage, self._redis, self._keep_live_s = storage, redis, keep_live_s
        self._stars = Stars(storage, redis)

    def forget(self, generation: Generation) -> None:
        """Delete a generation that has ended; raises RedisError too, and then nothing has been done."""
        one = generation
        self.go_on(
            JobTombstone(id=one.id, owner=one.owner, created_at=one.created_at, deleted_at=now(), used=used_by(one))
        )

    def go_on(self, deleted: JobTombstone) -> None:
        """Do all of it, whatever of it was done before; raises as `forget`."""
        text, generation_id = DELETED.write(deleted), deleted.id
        with self._redis.pipeline() as pipe:
            pipe.delete(live_key(generation_id))
            pipe.hset(live_key(generation_id), mapping={"deleted": "1", "final": text})
            pipe.expire(live_key(generation_id), self._keep_live_s)
            pipe.expire(stream_key(generation_id), FAREWELL_S)
            pipe.execute()
        self._storage.put(deleted_key(generation_id), text)
        self._storage.put(manifest_key(generation_id), text)
        self.clear(deleted)

    def finish(self, generation_id: str) -> None:
        """Do what is left to do of a generation whose end says that it was deleted; nothing where it does not."""
        try:
            with suppress(Unreadable):
                MANIFEST.get(self._storage, manifest_key(generation_id))
        except Deleted as deleted:
            self.go_on(DELETED.read(deleted_key(generation_id), deleted.text))

    def clear(self, deleted: JobTombstone) -> None:
        """Clear away what is left beside the record that it was deleted."""
        index.forget(self._redis, deleted.id, deleted.owner)
        self.note_used(deleted)
        self._stars.forget(deleted.id)
        for key in list(self._storage.keys(folder_of(deleted.id))):
            if key != manifest_key(deleted.id):
                self._storage.delete(key)
        for key in beside(deleted):
            self._storage.delete(key)

    def note_used(self, deleted: JobTombstone) -> None:
        """Have what it used counted all the same, where no segment may have it: before the notes that say so go."""
        if deleted.used and any(map(self._storage.exists, (ended_key(deleted.id), pending_key(deleted.id)))):
            Segments(self._storage).deleted_early(Entry.of_deleted(deleted))


def beside(deleted: JobTombstone) -> list[str]:
    """What else may be stored of a generation than its end and pictures."""
    # Whoever ended it may have died before the pending record went
    keys = [pending_key(deleted.id), star_key(deleted.id), ended_key(deleted.id)]
    return [*keys, owned_generation_key(deleted.owner, deleted.id)] if deleted.owner else keys
