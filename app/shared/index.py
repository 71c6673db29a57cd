"""The list of all generations, newest first, and what is found in it.

What has not ended, and what has ended a moment ago, is few: Redis has their ids in order of time. What ended before is
in segments (`app/shared/segments.py`), of which each machine keeps an index in a file (`app/shared/index_database.py`).
A page is put together from both; what is filtered is looked for in the file, which has the few too, once they are asked
for. Both are copies: one that is lost is made again, from the segments and the folders of the few.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:generations` | sorted set | the few by time; below all `whole`, or a token while it is rebuilt | rebuilt |
| `radiata:generations:<owner>` | | the same of an owner who is not the first, and is not in the first one | |
| `radiata:segments` | string | another one whenever there are other segments | |
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from app.shared import rebuild
from app.shared.errors import NotFound
from app.shared.following import CHANGED, Following, Unfinished, unusable
from app.shared.index_database import BITS, GONE, LAST, IndexDatabase, Places, moment, place_of
from app.shared.job import ID
from app.shared.owners import FIRST
from app.shared.segments import Entry
from app.shared.wanted import EVERYTHING, Wanted
from app.shared.wire.generation import Generation

INDEX = "radiata:generations"
WHOLE = "whole"
TOKEN = "token:"  # noqa: S105 - the beginning of a field
BELOW_ALL = "-inf"
CHUNK = 1000
EMPTY_S = 3600  # for which it is kept of an owner who has nothing
SLACK_S = 60.0  # between the time in an id and that of its acceptance

# KEYS: the index, what tells other segments; ARGV: whole, an id or nothing, its time or nothing, how many or all.
# Answers what tells, then one more than that, older than the id, each with its time in turn; nil where the index is not
# whole, a number where nobody knows the id's time. `whole` comes last, and nothing else is no id, unless a stranger
# wrote it.
PAGE = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= '-inf' then return nil end
local first, id = 0, ARGV[2]
if id ~= '' then
    local added = ARGV[3] ~= '' and redis.call('ZADD', KEYS[1], 'NX', ARGV[3], id)
    local rank = redis.call('ZREVRANK', KEYS[1], id)
    if added == 1 then redis.call('ZREM', KEYS[1], id) end
    if not rank then return -1 end
    first = added == 1 and rank or rank + 1
end
local last = ARGV[4] == '' and -1 or first + ARGV[4]
local found = redis.call('ZREVRANGE', KEYS[1], first, last, 'WITHSCORES')
table.insert(found, 1, redis.call('GET', KEYS[2]) or '')
return found
"""

# KEYS: the index; ARGV: whole, token, seconds. Answers 1, or 0 where the set was lost under the hands of whoever filled
# it. One with nothing in it goes after so many seconds: it may be of an owner whom somebody made up.
CLOSE = """
if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('ZADD', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""


def index_key(owner: str) -> str:
    """The list of an owner's few, in Redis."""
    return f"{INDEX}:{owner}" if owner else INDEX


class GenerationIndex:
    """Ids of all generations of an owner in order of their time.

    read: a generation of whoever, as storage or Redis has it; None for what is none, was deleted, or cannot be read.
    stars: ids of all that have one.
    """

    def __init__(
        self,
        redis: Redis,
        following: Following,
        read: Callable[[str], Generation | None],
        stars: Callable[[], set[str]],
        owner: str = FIRST,
    ) -> None:
        self._owner = owner
        self._index = index_key(owner)
        self._redis = redis
        self._following = following
        self._segments = following.segments
        self._read = read
        self._stars = stars

    # What becomes of a generation

    def add(self, pipe: Pipeline, generation_id: str, created_at: datetime, owner: str = FIRST) -> None:
        """Take a new generation in, with the rest of what `pipe` does."""
        pipe.zadd(index_key(owner), {generation_id: moment(generation_id, created_at)}, nx=True)

    def ended(self, generation_id: str) -> None:
        """Note that a generation has ended, before its pending record goes; raises Unavailable."""
        self._segments.ended(generation_id)

    def forget(self, generation_id: str) -> None:
        """Drop an id that storage does not know."""
        forget(self._redis, generation_id, self._owner)

    def gathered(self, owners: Mapping[str, str]) -> None:
        """Drop ids, each with its owner, that segments have; raises RedisError."""
        with self._redis.pipeline(transaction=False) as pipe:
            for one, owner in owners.items():
                pipe.zrem(index_key(owner), one)
            pipe.execute()

    # Pages

    def page(self, limit: int, before: str | None, wanted: Wanted = EVERYTHING) -> tuple[list[str], bool]:
        """The newest `limit` ids older than `before` of what may be wanted, and whether there are more.

        Raises NotFound for no such id, and Unavailable.
        """
        try:
            try:
                found = self._found(limit, before, wanted)
            except Unfinished:
                self._following.wait()
                found = self._found(limit, before, wanted)
        except sqlite3.Error as error:
            raise unusable(error) from error
        return [one for one, _ in found[:limit]], len(found) > limit

    def _found(self, limit: int, before: str | None, wanted: Wanted) -> Places:
        """Up to one more than asked for."""
        found = self._everything(limit, before) if wanted.everything else None
        return self._sought(limit, before, wanted) if found is None else found

    def _everything(self, limit: int, before: str | None) -> Places | None:
        """The same of everything; None where Redis cannot tell."""
        database, missing = self._following.newest(self._told())
        since = None if before is None else self._place(database, before)
        try:
            few = self._few(before, since, limit)
        except NotFound as error:
            raise self._following.unfinished() if missing else error from None
        if few is None:
            return None
        told, found = few
        database, missing = self._following.newest(told)
        if before is not None and since is None:  # one of the few: its time is in Redis
            since = self._place_of_few(before)
        older = database.ended(self._owner, LAST if since is None else since, limit + 1)
        # Few that have ended may be in a segment already
        both = dict(older) | dict(found)
        return self._sure(sorted(both.items(), key=lambda one: -one[1])[: limit + 1], limit, missing)

    def _sure(self, found: Places, limit: int, since: int) -> Places:
        """What was found in a file that has everything from `since` on; raises Unfinished where more may be missing."""
        if since and (len(found) <= limit or found[limit - 1][1] < since):
            raise self._following.unfinished()
        return found

    def _place(self, database: IndexDatabase, generation_id: str) -> int | None:
        """Where a generation stands that is in the file, or was deleted since its page was read."""
        place = database.place(generation_id, self._owner)
        if place is None and (gone := self._following.gone(generation_id)) is not None and gone.owner == self._owner:
            place = place_of(gone.id, moment(gone.id, gone.created_at))
        return place

    def _place_of_few(self, generation_id: str) -> int | None:
        score = self._redis.zscore(self._index, generation_id)
        return None if score is None else place_of(generation_id, score)

    def _few(self, before: str | None, since: int | None, limit: int | None) -> tuple[str, Places] | None:
        """What tells other segments, and ids and places; None where the index is not whole, or there is no Redis."""
        try:
            found = self._page(before, since, limit)
            if found is None and rebuild.ensure(self._redis, self._index, self._whole, self._rebuild):
                found = self._page(before, since, limit)
        except RedisError:
            return None
        return found

    def _page(self, before: str | None, since: int | None, limit: int | None) -> tuple[str, Places] | None:
        page = self._redis.register_script(PAGE)
        when = "" if since is None else repr((since >> BITS) / 1000)
        while True:
            arguments = [WHOLE, before or "", when, "" if limit is None else limit]
            found = cast(list[bytes] | int | None, page(keys=[self._index, CHANGED], args=arguments))
            if isinstance(found, int):
                raise unknown()
            if found is None:
                return None
            told, ids, times = found[0].decode(errors="replace"), found[1::2], found[2::2]
            if not (strangers := [one for one in ids if not belongs(one)]):
                pairs = [(one.decode(), float(at)) for one, at in zip(ids, times, strict=True) if one != WHOLE.encode()]
                return told, [(one, place_of(one, at)) for one, at in pairs]
            self._redis.zrem(self._index, *strangers)  # they would stand where generations should

    def _sought(self, limit: int, before: str | None, wanted: Wanted) -> Places:
        """The same of what is looked for in the file, where the few are too, then."""
        few = self._few(None, None, None)
        if few is None:  # storage is slower, and knows
            told, ids = self._told(), self._unindexed()
        else:
            told, ids = few[0], [one for one, _ in few[1]]
        database, missing = self._following.newest(told)
        self._take(ids)
        until = LAST if before is None else self._place(database, before)
        if until is None:
            raise self._following.unfinished() if missing else unknown()
        since = 0 if wanted.since is None else place_of("0" * 32, wanted.since.timestamp() - SLACK_S)
        if wanted.until is not None:
            until = min(until, place_of("f" * 32, wanted.until.timestamp() + SLACK_S))
        marks = wanted.marks(self._owner)
        if wanted.starred:
            found = database.among(self._stars(), marks, since, until, limit + 1)
        else:
            found = database.marked(marks, since, until, limit + 1)
        return found if since >= missing else self._sure(found, limit, missing)

    # Made again

    def _told(self) -> str:
        with suppress(RedisError):
            return (cast(bytes | None, self._redis.get(CHANGED)) or b"").decode(errors="replace")
        return ""

    def _whole(self) -> bool:
        return self._redis.zscore(self._index, WHOLE) == float(BELOW_ALL)

    def _rebuild(self, token: str) -> bool:
        member = f"{TOKEN}{token}"
        self._redis.zadd(self._index, {member: BELOW_ALL})  # type: ignore[dict-item]  # Redis' word for it
        database = self._following.database
        ids = self._unindexed()
        self._take(ids)
        known = {one: said for one, said in database.of(ids).items() if said.owner == self._owner}
        moments = [(one, said.created) for one, said in known.items()]
        with self._redis.pipeline(transaction=False) as pipe:
            for at in range(0, len(moments), CHUNK):
                pipe.zadd(self._index, dict(moments[at : at + CHUNK]), nx=True)
            pipe.execute()
        return bool(self._redis.eval(CLOSE, 1, self._index, WHOLE, member, EMPTY_S))

    def _unindexed(self) -> list[str]:
        """Ids of all that has not ended, or is in no segment yet, of all owners."""
        pending = self._following.pending()  # first: what ends meanwhile is then found among what has ended
        return [*pending | self._segments.noted()]

    def _take(self, ids: Iterable[str]) -> None:
        """Have these in the file."""
        database = self._following.database
        known = database.of(ids)
        found = rebuild.read_all(self._read, [one for one in ids if one not in known or known[one].state == GONE])
        if entries := [Entry.of(one) for one in found if one is not None]:
            database.take(entries)


def forget(redis: Redis, generation_id: str, owner: str) -> None:
    """Drop an id of an owner's that storage does not know, or that was deleted: segments are seen to later."""
    with suppress(RedisError):
        redis.zrem(index_key(owner), generation_id)


def belongs(member: bytes) -> bool:
    """Whether this may stand in an index that is whole: an id, or what says so; no token, which nobody needs then."""
    return member == WHOLE.encode() or bool(ID.fullmatch(member.decode(errors="replace")))


def unknown() -> NotFound:
    """What is said of an id that nobody has."""
    return NotFound("generation_unknown", "there is no such generation; ids come from POST /v1/generations")
