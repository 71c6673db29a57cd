"""The list of all generations, newest first: a copy in Redis of what storage holds.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:generations` | sorted set | id by time; below all `whole`, or a token while it is rebuilt | rebuilt |
| `radiata:generations:<owner>` | | the same of an owner who is not the first, and is not in the first one | |

The time is in the id: the same in Redis as from storage. Where an idempotency key made the id, it is when the record
was written: the pending one, or, rebuilt later, the end.
"""

import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from app.shared import rebuild
from app.shared.errors import NotFound
from app.shared.job import ID
from app.shared.lifecycle import time_in
from app.shared.owners import FIRST, GENERATIONS
from app.shared.records import DELETED, deleted_key
from app.shared.storage import Storage

INDEX = "radiata:generations"
WHOLE = "whole"
TOKEN = "token:"  # noqa: S105 - the beginning of a field
BELOW_ALL = "-inf"
CHUNK = 1000
KEEP_S = 1.0  # a listing of storage, where there is no Redis
AHEAD_S = 86_400  # clocks of two machines differ by less: a later time is the hash of an idempotency key (version 0.1)

# KEYS: the index; ARGV: whole, an id or nothing, how many, and when the id began, should that be known to have been
# deleted. Answers one more than that, older than the id; nil where the index is not whole, a number where it has no
# such id. `whole` comes last, and nothing else is no id, unless a stranger wrote it.
PAGE_OF = """
local function page()
    if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= '-inf' then return nil end
    local first = 0
    if ARGV[2] ~= '' then
        local rank, at = redis.call('ZREVRANK', KEYS[1], ARGV[2]), ARGV[4]
        if rank then
            first = rank + 1
        elseif at then
            first = redis.call('ZCOUNT', KEYS[1], '(' .. at, '+inf')
            for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], at, at)) do
                if other > ARGV[2] then first = first + 1 end
            end
        else
            return -1
        end
    end
    return redis.call('ZREVRANGE', KEYS[1], first, first + ARGV[3])
end
"""
PAGE = f"{PAGE_OF} return page()"

# KEYS: the index; ARGV: whole, token. Answers 1, or 0 where the set was lost under the hands of whoever filled it.
CLOSE = """
if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('ZADD', KEYS[1], '-inf', ARGV[1])
return 1
"""


def index_key(owner: str) -> str:
    """The list of an owner, in Redis."""
    return f"{INDEX}:{owner}" if owner else INDEX


class GenerationIndex:
    """Ids of all generations of an owner in order of their time."""

    def __init__(self, storage: Storage, redis: Redis, owner: str = FIRST) -> None:
        self._owner = owner
        self._index = index_key(owner)
        self._storage = storage
        self._redis = redis
        self._listing = threading.Lock()
        self._listed: tuple[float, list[tuple[float, str]]] = (0.0, [])

    def add(self, pipe: Pipeline, generation_id: str, created_at: datetime, owner: str = FIRST) -> None:
        """Take a new generation in, with the rest of what `pipe` does."""
        pipe.zadd(index_key(owner), {generation_id: moment(generation_id, created_at)}, nx=True)

    def forget(self, generation_id: str) -> None:
        """Drop an id that storage does not know."""
        with suppress(RedisError):
            self._redis.zrem(self._index, generation_id)

    def page(self, limit: int, before: str | None) -> tuple[list[str], bool]:
        """The newest `limit` ids older than `before`, and whether there are more; raises NotFound for no such id.

        An id that was deleted since is as good as before: whoever turns pages goes on.
        """
        try:
            return self._page(limit, before, None)
        except NotFound:
            gone = DELETED.get(self._storage, deleted_key(before)) if before else None
            if before is None or gone is None or gone.owner != self._owner:
                raise
            return self._page(limit, before, moment(before, gone.created_at))

    def _page(self, limit: int, before: str | None, at: float | None) -> tuple[list[str], bool]:
        try:
            found = self._in_redis(limit, before, at)
            if found is None and rebuild.ensure(self._redis, self._index, self._whole, self._rebuild):
                found = self._in_redis(limit, before, at)
        except RedisError:
            found = None
        if found is None:  # storage is slower, and knows
            ids = self._from_storage()
            if before is not None:
                mine = next((one for one in ids if one[1] == before), None if at is None else (at, before))
                if mine is None:
                    raise unknown()
                ids = [one for one in ids if one < mine]
            found = [one for _, one in ids[: limit + 1]]
        return found[:limit], len(found) > limit

    def _in_redis(self, limit: int, before: str | None, at: float | None) -> list[str] | None:
        """Up to one id more than asked for, or None where the index is not whole."""
        page, when = self._redis.register_script(PAGE), [] if at is None else [repr(at)]
        while True:
            found = cast(list[bytes] | int | None, page(keys=[self._index], args=[WHOLE, before or "", limit, *when]))
            if isinstance(found, int):
                raise unknown()
            if found is None:
                return None
            if not (strangers := [one for one in found if not belongs(one)]):
                return [one.decode() for one in found if one != WHOLE.encode()]
            self._redis.zrem(self._index, *strangers)  # they would stand where generations should

    def _whole(self) -> bool:
        return self._redis.zscore(self._index, WHOLE) == float(BELOW_ALL)

    def _rebuild(self, token: str) -> bool:
        member = f"{TOKEN}{token}"
        self._redis.zadd(self._index, {member: BELOW_ALL})  # type: ignore[dict-item]  # Redis' word for it
        moments = list(self._moments().items())
        with self._redis.pipeline(transaction=False) as pipe:
            for at in range(0, len(moments), CHUNK):
                pipe.zadd(self._index, dict(moments[at : at + CHUNK]), nx=True)
            pipe.execute()
        return bool(self._redis.eval(CLOSE, 1, self._index, WHOLE, member))

    def _from_storage(self) -> list[tuple[float, str]]:
        """When each began, and its id, the newest first."""
        with self._listing:  # one looks, others take what it saw
            until, ids = self._listed
            if time.monotonic() >= until:
                ids = sorted(((when, one) for one, when in self._moments().items()), reverse=True)
                self._listed = (time.monotonic() + KEEP_S, ids)
        return ids

    def _moments(self) -> dict[str, float]:
        """When each generation in storage began."""
        # What is pending first: what ends meanwhile is then found among the ended
        pending = {key.split("/")[1].removesuffix(".json"): when for key, when in self._storage.entries("pending")}
        ended = {
            key.split("/")[1]: when
            for key, when in self._storage.entries("generations")
            if key.endswith("/manifest.json")
        }
        # Last: what an owner has accepted is noted before it is accepted
        owners = {key.split("/")[-1]: key.split("/")[-2] for key in self._storage.keys(GENERATIONS)}
        gone = {key.split("/")[1].removesuffix(".json") for key in self._storage.keys("deleted")}
        ours = {one: when for one, when in (ended | pending).items() if owners.get(one, FIRST) == self._owner}
        return {one: moment(one, when) for one, when in ours.items() if ID.fullmatch(one) and one not in gone}


def belongs(member: bytes) -> bool:
    """Whether this may stand in an index that is whole: an id, or what says so; no token, which nobody needs then."""
    return member == WHOLE.encode() or bool(ID.fullmatch(member.decode(errors="replace")))


def moment(generation_id: str, otherwise: datetime) -> float:
    """When a generation began, in seconds: as its id says, or else as told."""
    told, seconds = otherwise.timestamp(), time_in(generation_id)
    return told if seconds is None or seconds > told + AHEAD_S else seconds


def unknown() -> NotFound:
    """What is said of an id that nobody has."""
    return NotFound("generation_unknown", "there is no such generation; ids come from POST /v1/generations")
