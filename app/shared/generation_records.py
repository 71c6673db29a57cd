"""What storage knows of a generation: its acceptance, its end, and the pictures between.

A record that cannot be read is restored from Redis's copy, where that still has one.

| Redis key | type | what | lives |
|---|---|---|---|
| `radiata:live:<id>` | hash | `accepted` (JSON), `status`, `step`, `started_at`, `final` (JSON) | `keep_live_s` |
"""

from typing import cast

import structlog
from redis import Redis
from redis.exceptions import RedisError

from app.shared.errors import Unreadable
from app.shared.records import MANIFEST, PENDING, Kind
from app.shared.schema import Accepted
from app.shared.storage import Storage

log = structlog.get_logger()


def pending_key(generation_id: str) -> str:
    """Where an accepted generation is kept until it ends."""
    return f"pending/{generation_id}.json"


def manifest_key(generation_id: str) -> str:
    """Where the end of a generation is kept."""
    return f"generations/{generation_id}/manifest.json"


def image_key(generation_id: str, index: int) -> str:
    """Where a picture of a generation is kept."""
    return f"generations/{generation_id}/{index}.png"


def live_key(generation_id: str) -> str:
    """Live state of a generation, in Redis."""
    return f"radiata:live:{generation_id}"


class GenerationRecords:
    """Reads the two records of a generation, and Redis's copies of them."""

    def __init__(self, storage: Storage, redis: Redis) -> None:
        self._storage = storage
        self._redis = redis

    def pending(self, generation_id: str) -> Accepted | None:
        """What was accepted and has not ended, or None; raises Unreadable."""
        return self._read(PENDING, pending_key(generation_id), generation_id, "accepted")

    def ended(self, generation_id: str) -> Accepted | None:
        """What has ended, or None; raises Unreadable."""
        return self._read(MANIFEST, manifest_key(generation_id), generation_id, "final")

    def either(self, generation_id: str) -> Accepted | None:
        """The first of the two that there is and can be read, or None; raises Unreadable when none can."""
        try:
            # The manifest is asked for last: it exists before the pending record goes, so one of them is always found
            return self.pending(generation_id) or self.ended(generation_id)
        except Unreadable:
            if ended := self.ended(generation_id):
                return ended
            raise

    def live(self, generation_id: str) -> dict[str, str]:
        """Live state, as far as Redis has it and answers."""
        try:
            raw = cast(dict[bytes, bytes], self._redis.hgetall(live_key(generation_id)))
        except RedisError:
            return {}  # storage still knows
        return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in raw.items()}

    def copy(self, live: dict[str, str], field: str, generation_id: str) -> Accepted | None:
        """Redis's copy of a record, or None when it has none that is whole."""
        try:
            return PENDING.read(pending_key(generation_id), live[field]) if field in live else None
        except Unreadable:
            return None

    def _read(self, kind: Kind[Accepted], key: str, generation_id: str, copied_as: str) -> Accepted | None:
        try:
            return kind.get(self._storage, key)
        except Unreadable as error:
            copy = self.copy(self.live(generation_id), copied_as, generation_id)
            if copy is None:
                raise
            log.warning("record_restored", key=key, why=error.why)
            self._storage.put(key, copy.model_dump_json().encode())
            return copy

    def remove(self, generation_id: str) -> None:
        """Clear away everything that storage has of a generation; what says that it was accepted goes first."""
        self._storage.delete(pending_key(generation_id))
        for key in sorted(self._storage.keys(f"generations/{generation_id}"), key=manifest_key(generation_id).__eq__):
            self._storage.delete(key)
