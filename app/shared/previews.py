"""Previews: what a picture looks like while it is drawn, for those who ask to see it, and for no longer.

Nothing of them is stored, in no stream of events either: whoever comes later has missed them, and misses nothing.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:previews:<generation id>` | string | somebody wants previews; API writes it, engine reads it | 40 s |
| `radiata:preview:<generation id>` | string | the newest preview (JSON); engine writes it, API reads it | 40 s |
"""

from contextlib import suppress
from typing import Any, Final

from pydantic import Field, ValidationError
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from app.shared.events import Event
from app.shared.wire.values import Wire

KEPT_S: Final = 40
DATA_URL: Final = "data:image/webp;base64,"


class Preview(Wire):
    """What a picture will about look like, as far as it can be told."""

    index: int = Field(description="of the picture in its generation")
    step: int = Field(description="as in `progress`: denoising steps made, over all pictures")
    width: int = Field(description="pixels of the preview itself")
    height: int
    data: str = Field(max_length=1 << 20, pattern=f"^{DATA_URL}", description="a data URL of a WebP")


def _asked_key(generation_id: str) -> str:
    return f"radiata:previews:{generation_id}"


def _newest_key(generation_id: str) -> str:
    return f"radiata:preview:{generation_id}"


def watched(redis: Redis, generation_id: str) -> bool:
    """Tell whether somebody wants previews of a generation."""
    return bool(redis.exists(_asked_key(generation_id)))


def send(redis: Redis, generation_id: str, preview: Preview) -> None:
    """Give those who want it a preview; they look for it at the next event."""
    redis.set(_newest_key(generation_id), preview.model_dump_json(), ex=KEPT_S)


class Viewer:
    """Somebody who follows a generation and wants to see it."""

    def __init__(self, redis: AsyncRedis, generation_id: str) -> None:
        self._redis = redis
        self._id = generation_id
        self._seen: bytes | None = None

    async def ask(self) -> None:
        """Say that previews are wanted, for the next while."""
        with suppress(RedisError):  # events go on as they can, without previews
            await self._redis.set(_asked_key(self._id), b"1", ex=KEPT_S)

    async def newest(self) -> Event | None:
        """The newest preview, as an event, where there is another than before; goes on asking for them."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(_asked_key(self._id), b"1", ex=KEPT_S)
                pipe.get(_newest_key(self._id))
                found: Any = (await pipe.execute())[1]
            if found is None or found == self._seen:
                return None
            self._seen = found
            preview = Preview.model_validate_json(found)
        except (RedisError, ValidationError):  # Redis is data too
            return None
        return Event("preview", preview.model_dump())
