"""One store, one Redis: two services with stores of their own on one Redis would take and drop each other's jobs.

| key | where | what |
|---|---|---|
| `store.json` | storage | `{"format": …, "id": …}`, made once, by whoever comes first |
| `radiata:store` | Redis, string | id of the store whose service uses this Redis; claimed at start and by each sweep |
"""

import re
from secrets import token_hex
from typing import cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from app.shared.errors import Newer, RadiataError, Unavailable, Unreadable
from app.shared.record_format import FORMAT
from app.shared.records import IDENTITY, StoreIdentity, tell
from app.shared.settings import BadSettings, Settings
from app.shared.storage import Storage

KEY = "store.json"
ID = re.compile(r"[0-9a-f]{32}")
CLAIM = "radiata:store"


def store_id(storage: Storage) -> str:
    """The id of this store, made where there is none; raises Unavailable or Unreadable."""
    found = IDENTITY.get(storage, KEY)
    if found is None:
        storage.create(KEY, IDENTITY.write(StoreIdentity(id=token_hex(16))))
        found = IDENTITY.get(storage, KEY)  # another process may have been first
    if found is None:
        raise Unavailable("storage_unavailable", f"storage forgot {KEY!r} as soon as it was written")
    return found.id


def claim_at_start(settings: Settings, redis: Redis) -> None:
    """As `claim`, where both are there; where one is away, the next sweep claims."""
    try:
        claim(Storage(settings.store_url), redis)
    except BadSettings:  # some are errors of Redis too
        raise
    except (RadiataError, RedisError):
        return


def _holder(redis: Redis) -> str | None:
    """The id of the store that holds this Redis, if any; empty where what stands there is no id."""
    try:
        held = cast(bytes | None, redis.get(CLAIM))
    except ResponseError:
        return ""
    text = (held or b"").decode(errors="replace")
    return None if held is None else text if ID.fullmatch(text) else ""


def claim(storage: Storage, redis: Redis) -> None:
    """Take this Redis for this store; raises BadSettings where it is another's, or the store is of newer code.

    Raises Unavailable or RedisError where one of the two is away.
    """
    try:
        ours = store_id(storage)
    except Newer as error:
        raise BadSettings(
            f"RADIATA_STORAGE_URL: the store {storage.url} was made by a newer version of Radiata ({error.why}; this "
            f"version reads formats up to {FORMAT}): upgrade Radiata on this machine, or take another store"
        ) from error
    except Unreadable as error:  # nothing else that is accepted waits for this record to be mended
        tell(redis, error)
        return
    redis.set(CLAIM, ours, nx=True)
    theirs = _holder(redis)
    if theirs == "":  # no store has such an id: somebody else wrote that
        redis.set(CLAIM, ours)
        theirs = _holder(redis)
    if theirs not in (None, ours):
        raise BadSettings(
            f"RADIATA_REDIS_URL: this Redis is used by a service with another store than {storage.url}: take another "
            "database of it (…/1 instead of …/0; with the server of `radiata up`, another RADIATA_DATA_DIR), or the "
            f"storage of that service (RADIATA_STORAGE_URL), or, if that service is no more, delete the key {CLAIM}"
        )
