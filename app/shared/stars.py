"""Stars: what has one is not deleted for its age, nor to make room; only whoever asks for it deletes it.

`starred/<id>` in storage is a star, or the decision that a generation is deleted for its age or size: whoever creates
it first has decided, so a generation is never starred and deleted all the same. A star is written whatever becomes of
the end's record, which never changes.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:starred` | set | ids of what has a star; `whole`, or a token while it is rebuilt | rebuilt |
"""

from collections.abc import Collection
from contextlib import suppress
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from app.shared import rebuild
from app.shared.job import ID
from app.shared.storage import Storage

STARRED = "radiata:starred"
WHOLE = "whole"
TOKEN = "token:"  # noqa: S105 - the beginning of a member
FOLDER = "starred"
STAR, FORGOTTEN = b"star", b"forgotten"  # what is written there

# KEYS: the set; ARGV: whole, an id. Whoever fills the set meanwhile has read what is no longer so.
TAKE = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then return redis.call('DEL', KEYS[1]) end
return redis.call('SREM', KEYS[1], ARGV[2])
"""
# KEYS: the set; ARGV: whole, a token. Answers 1, or 0 where the set was lost since the token was put in.
CLOSE = """
if redis.call('SREM', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
"""


def star_key(generation_id: str) -> str:
    """Where the star of a generation is kept."""
    return f"{FOLDER}/{generation_id}"


class Stars:
    """Knows which generations have a star."""

    def __init__(self, storage: Storage, redis: Redis) -> None:
        self._storage = storage
        self._redis = redis

    def among(self, ids: Collection[str]) -> set[str]:
        """Those of these generations that have a star; raises Unavailable where only storage knows, and is away."""
        if not ids:
            return set()
        try:
            found = self._ask(ids)
            if found is None and rebuild.ensure(self._redis, STARRED, self._whole, self._rebuild):
                found = self._ask(ids)
        except RedisError:
            found = None
        return {one for one in ids if self._storage.get(star_key(one)) == STAR} if found is None else found

    def all(self) -> set[str]:
        """Every generation that has a star, of all owners; raises Unavailable."""
        found: set[str] | None = None
        with suppress(RedisError):
            if rebuild.ensure(self._redis, STARRED, self._whole, self._rebuild):
                found = {one.decode(errors="replace") for one in cast(set[bytes], self._redis.smembers(STARRED))}
        return {one for one in (self._listed() if found is None else found) if ID.fullmatch(one)}

    def give(self, generation_id: str) -> bool:
        """Star it; False where it is being deleted. Raises Unavailable and RedisError: then it is to be asked again."""
        given = self._storage.create(star_key(generation_id), STAR)
        if given:
            self._redis.sadd(STARRED, generation_id)
        return given

    def take(self, generation_id: str) -> bool:
        """Take its star, if it has one; the rest as `give`."""
        found = self._storage.get(star_key(generation_id))
        if found == FORGOTTEN:
            return False
        if found is not None:
            self._storage.delete(star_key(generation_id))
        self._untold(generation_id)
        return True

    def lets_go(self, generation_id: str) -> bool:
        """Whether it may be deleted unasked; from then on nobody can star it."""
        return self._storage.create(star_key(generation_id), FORGOTTEN)

    def forget(self, generation_id: str) -> None:
        """Forget a generation that is deleted."""
        with suppress(RedisError):  # first: what storage still has is found by gc
            self._untold(generation_id)
        self._storage.delete(star_key(generation_id))

    def _untold(self, generation_id: str) -> None:
        self._redis.eval(TAKE, 1, STARRED, WHOLE, generation_id)

    def _ask(self, ids: Collection[str]) -> set[str] | None:
        whole, *found = self._redis.smismember(STARRED, [WHOLE, *ids])  # type: ignore[misc]
        return {one for one, has in zip(ids, found, strict=True) if has} if whole else None

    def _whole(self) -> bool:
        return bool(self._redis.sismember(STARRED, WHOLE))

    def _rebuild(self, token: str) -> bool:
        self._redis.sadd(STARRED, f"{TOKEN}{token}")
        if listed := self._listed():
            self._redis.sadd(STARRED, *listed)
        return bool(self._redis.eval(CLOSE, 1, STARRED, WHOLE, f"{TOKEN}{token}"))

    def _listed(self) -> set[str]:
        # What is being deleted is among them for a moment: to look into each would cost a request each
        return {key.rpartition("/")[2] for key in self._storage.keys(FOLDER)}
