"""Downloads: files of other hosts, from the request that named them to the upload that intake judges.

A download that was accepted is `fetching/<id>.json`. Once its file is here it is an upload of the same id, and what it
ends as is an upload's end; so whoever asks for the id finds one or the other, whatever died in between.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:fetched:<id>` | string | `<bytes here>/<bytes in all, or 0>` | an hour |
| `radiata:fetching:<owner>` | set | ids of an owner's downloads; those that are over go when it is full | two days |
"""

import re
from collections.abc import Iterator
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from app.shared.errors import NotFound, Unavailable
from app.shared.job import ID
from app.shared.outgoing import Outgoing
from app.shared.owners import FIRST_SAID
from app.shared.records import DOWNLOAD
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.wire.upload import Download, Upload, UploadStatus

KIND = "download"
MOST = 100  # downloads of one owner that are not here yet, before another is not taken
COUNTED_S = 2 * 24 * 3600
KEPT_S = 3600
_GOT = re.compile(rb"(\d{1,15})/(\d{1,15})")


def download_key(upload_id: str) -> str:
    """Where a download is kept until its file is here."""
    return f"fetching/{upload_id}.json"


def fetched_key(upload_id: str) -> str:
    """Redis key of how much of it is here."""
    return f"radiata:fetched:{upload_id}"


def counted_key(owner: str) -> str:
    """Redis key of an owner's downloads."""
    return f"radiata:fetching:{owner or FIRST_SAID}"


class Downloads:
    """Accepts downloads, follows them, and makes uploads of them."""

    def __init__(self, storage: Storage, redis: Redis, uploads: Uploads, outgoing: Outgoing) -> None:
        self._storage, self._redis, self._uploads, self._outgoing = storage, redis, uploads, outgoing

    def begin(self, download: Download) -> Upload:
        """Accept a download: from then on it is fetched, whatever dies.

        Raises Unavailable where the owner has too many that are not here yet.
        """
        if self._are_many(download.upload.owner):
            raise Unavailable("fetching_full", f"{MOST} files of yours are being fetched already; try again later")
        with self._redis.pipeline() as pipe:
            pipe.sadd(counted_key(download.upload.owner), download.id)
            pipe.expire(counted_key(download.upload.owner), COUNTED_S)
            pipe.execute()
        self._storage.create(download_key(download.id), DOWNLOAD.write(download))
        self._outgoing.put(f"{KIND}:{download.id}")
        return download.upload

    def _are_many(self, owner: str) -> bool:
        key = counted_key(owner)
        if self._redis.scard(key) < MOST:
            return False
        known = [one.decode(errors="replace") for one in cast(set[bytes], self._redis.smembers(key))]
        over = [one for one in known if not (ID.fullmatch(one) and self._storage.exists(download_key(one)))]
        if over:
            self._redis.srem(key, *over)
        return len(known) - len(over) >= MOST

    def get(self, upload_id: str) -> Upload:
        """A download or what has become of it, as it stands; raises NotFound or Unreadable."""
        try:
            return self._uploads.get(upload_id)
        except NotFound:
            if not ID.fullmatch(upload_id):  # before it becomes a key
                raise
            waiting = self._seen(upload_id)
            # It may have become an upload between the two looks
            return self._as_it_stands(waiting) if waiting else self._uploads.get(upload_id)

    def waiting(self, upload_id: str) -> Download | None:
        """A download that is to be fetched, or None; raises Unreadable."""
        return DOWNLOAD.get(self._storage, download_key(upload_id))

    def _seen(self, upload_id: str) -> Download | None:
        """A download that is to be fetched, unless it is another owner's."""
        found = self.waiting(upload_id)
        return found if found and self._uploads.sees(found.upload) else None

    def pending(self) -> Iterator[str]:
        """Ids of all that are to be fetched."""
        return DOWNLOAD.ids(self._storage, "fetching")

    def cancel(self, upload_id: str) -> Upload:
        """Cancel a download, or the upload that it has become; raises as `Uploads.cancel` does."""
        if waiting := self._seen(upload_id):
            canceled = self._uploads.canceled(waiting.upload)
            if canceled.status is UploadStatus.CANCELED:
                self.over(upload_id)
                return canceled
        return self._uploads.cancel(upload_id)

    def update(self, download: Download) -> None:
        """Write down what is known of it by now."""
        self._storage.put(download_key(download.id), DOWNLOAD.write(download))

    def tell(self, upload_id: str, got: int, size: int | None) -> None:
        """Say how much of it is here."""
        self._redis.set(fetched_key(upload_id), f"{got}/{size or 0}", ex=KEPT_S)

    def over(self, upload_id: str) -> None:
        """Forget it: it is an upload by now, or has ended."""
        self._storage.delete(download_key(upload_id))

    def _as_it_stands(self, download: Download) -> Upload:
        try:
            text = cast(bytes | None, self._redis.get(fetched_key(download.id)))
        except RedisError:
            text = None
        found = _GOT.fullmatch(text or b"")
        more = {"fetched_bytes": int(found[1]), "size_bytes": int(found[2])} if found else {}
        return download.upload.model_copy(update=more)
