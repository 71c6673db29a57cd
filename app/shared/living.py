"""How many jobs of an owner wait or run: a copy in Redis of what storage says, by which a limit is exact.

A place is taken in one step with the question whether there is one, before the job is written down, and is given back
where that fails. Queueing a job makes its place one that storage knows of, and its end frees it. A process that dies
between two of these leaves a place that nobody has, or none for a job that is: every sweep compares the places with
what is pending, and what is queued again gets its place again, as after Redis was emptied.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:living:<kind>:<owner>` | sorted set | id by 0, or, not accepted yet, by seconds of Redis' clock | swept |
| `radiata:living` | set | the names of all these | for ever |
"""

from collections.abc import Collection, Sequence
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError

LIVING = "radiata:living"
KNOWN = 0  # to storage: the job was accepted
ACCEPTING_S = 60  # in which an acceptance has come to storage, or failed

# KEYS: the owner's set, the set of all; ARGV: limit, ids. Answers how many places were taken before, and 1 where all of
# these have one now, or else 0; an id that has one already, as by the same Idempotency-Key, takes no other.
TAKE = """
local had, new = redis.call('ZCARD', KEYS[1]), {}
for at = 2, #ARGV do
    if not redis.call('ZSCORE', KEYS[1], ARGV[at]) then new[#new + 1] = ARGV[at] end
end
if #new > 0 and had + #new > tonumber(ARGV[1]) then return {had, 0} end
local time = redis.call('TIME')
for _, id in ipairs(new) do redis.call('ZADD', KEYS[1], time[1], id) end
redis.call('SADD', KEYS[2], KEYS[1])
return {had, 1}
"""

# KEYS: the owner's set; ARGV: ids. Gives back their places, but for those that storage knows of.
LEAVE = """
for _, id in ipairs(ARGV) do
    if tonumber(redis.call('ZSCORE', KEYS[1], id) or 0) > 0 then redis.call('ZREM', KEYS[1], id) end
end
"""


def living_key(kind: str, owner: str) -> str:
    """Where the places of an owner's jobs of one kind are; kind: as `Places.name`."""
    return f"{LIVING}:{kind}:{owner}"


def take(redis: Redis, key: str, limit: int, ids: Sequence[str]) -> tuple[int, bool]:
    """How many places were taken, and whether all of these jobs have one now; raises RedisError."""
    had, taken = cast(list[int], redis.register_script(TAKE)(keys=[key, LIVING], args=[limit, *ids]))
    return had, bool(taken)


def leave(redis: Redis, key: str, ids: Sequence[str]) -> None:
    """Give back places of jobs that were not accepted; raises RedisError."""
    redis.register_script(LEAVE)(keys=[key], args=[*ids])


def counted(redis: Redis, kind: str) -> dict[str, list[tuple[str, float]]]:
    """All places of one kind, by their owner's key: id, and since when it is being accepted; raises RedisError."""
    names = sorted(name.decode() for name in cast(set[bytes], redis.smembers(LIVING)))
    keys = [name for name in names if name.startswith(living_key(kind, ""))]
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.zrange(key, 0, -1, withscores=True)
        found = cast(list[list[tuple[bytes, float]] | ResponseError], pipe.execute(raise_on_error=False))
    places: dict[str, list[tuple[str, float]]] = {}
    for key, rows in zip(keys, found, strict=True):
        if isinstance(rows, ResponseError):  # a text, say, which somebody put there
            redis.delete(key)
            continue
        places[key] = [(one.decode(errors="replace"), at) for one, at in rows]
    return places


def heal(redis: Redis, places: dict[str, list[tuple[str, float]]], pending: Collection[str]) -> None:
    """Free the places of jobs that storage has not; pending: as it was listed after `counted` was asked."""
    now = float(redis.time()[0])
    for key, rows in places.items():
        ours = [one for one, at in rows if one not in pending and (at == KNOWN or abs(now - at) > ACCEPTING_S)]
        if ours:
            redis.zrem(key, *ours)
