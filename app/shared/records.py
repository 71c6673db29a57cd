"""Stored JSON: every record is read and written here, and one that cannot be read spoils nothing but itself.

A record can be empty or cut off (a power cut, a full disk), overwritten, or another's. Reading it raises `Unreadable`
for that one; lists, sweeps and every other record go on without it, and it is logged once. A record of a later format
(`app/shared/record_format.py`) raises `Newer`, which is one kind of `Unreadable`.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:unreadable:<storage key>` | string | why; it has been logged by one of the processes | a day |
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import structlog
from pydantic import Field, TypeAdapter, ValidationError
from redis import Redis
from redis.exceptions import RedisError

from app.shared.accepted import Accepted, AcceptedTraining, JobTombstone
from app.shared.errors import Deleted, Newer, Unreadable
from app.shared.facts import AdapterFacts, BaseDenoiser, BaseLayers, BaseSites, BaseTokenizers, Verdicts
from app.shared.old_records import in_new_words, training_in_new_words
from app.shared.owners import namespace
from app.shared.record_format import FORMAT, stamped, unstamped
from app.shared.storage import Storage
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.audit import AuditLine, InForce
from app.shared.wire.dataset import DATASET_PREFIX, Dataset, SentDataset
from app.shared.wire.key import KeyRecord, SigningSecret
from app.shared.wire.model import ModelProfile
from app.shared.wire.resumable import Resumable
from app.shared.wire.training import Course
from app.shared.wire.upload import Download, Upload
from app.shared.wire.usage import UsedByTraining
from app.shared.wire.values import Wire
from app.shared.wire.webhook import StoredDelivery

log = structlog.get_logger()

T = TypeVar("T")
Shapes = dict[str, dict[str, list[int]]]  # component -> parameter name -> shape
TOLD_S = 24 * 3600


class Tombstone(Wire):
    """A name was deleted after this version; a later number is a name taken again."""

    last_version: int = Field(ge=0)


class StoreIdentity(Wire):
    """Which store this is."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$")


class Kind(Generic[T]):
    """One kind of record: what its keys look like, what it is, whose it is, and what to do without it.

    renew: brings a text with older names into the words of today; of whichever format, for one does not count up with
    each name.
    """

    def __init__(
        self,
        keys: str,
        kind: type[T],
        remedy: str,
        whose: Callable[[T], tuple[str, ...]] | None = None,
        renew: Callable[[bytes], bytes] = lambda text: text,
    ) -> None:
        self.keys = re.compile(keys)
        self._type: TypeAdapter[T] = TypeAdapter(kind)
        self._remedy = remedy
        self._whose = whose
        self._renew = renew

    def read(self, key: str, data: bytes | str) -> T:
        """The record that these bytes, found under `key`, are; raises Unreadable."""
        match = self.keys.fullmatch(key)
        assert match is not None, f"no key of this kind: {key}"
        number, text = unstamped(data)
        if number > FORMAT:
            raise _newer(key, f"format {number}")
        try:
            record = self._type.validate_json(self._renew(text))
        except ValidationError as error:
            why = _why(data, error)
            # A field more does not count the format up: whoever knows it can read all the rest
            if all(one["type"] == "extra_forbidden" for one in error.errors(include_input=False, include_url=False)):
                raise _newer(key, why) from error
            raise self._unreadable(key, why) from error
        if self._whose and self._whose(record) != match.groups():
            raise self._unreadable(key, f"it says that it is {'/'.join(self._whose(record))!r}")
        return record

    def write(self, record: T) -> bytes:
        """The bytes of a record, its format among them."""
        return stamped(self._type.dump_json(record))

    def _unreadable(self, key: str, why: str) -> Unreadable:
        match = self.keys.fullmatch(key)
        what_to_do = self._remedy.format(*match.groups() if match else ())
        return Unreadable(
            "record_unreadable",
            f"the record {key!r} in storage cannot be read ({why}): {what_to_do}",
            key=key,
            why=why,
        )

    def get(self, storage: Storage, key: str) -> T | None:
        """The record under `key`, or None when nothing is there; raises Unreadable."""
        data = storage.get(key)
        return None if data is None else self.read(key, data)

    def ids(self, storage: Storage, folder: str) -> Iterator[str]:
        """Ids of all records of this kind in a folder, in no order."""
        for key in storage.keys(folder):
            if match := self.keys.fullmatch(key):
                yield match[1]

    def replaced(self, storage: Storage, key: str) -> T | None:
        """The record that is about to be written over; None where nothing is there, or nothing that can be read.

        Raises Newer: that is left to newer code.
        """
        try:
            return self.get(storage, key)
        except Newer:
            raise
        except Unreadable:
            return None


def _newer(key: str, why: str) -> Newer:
    return Newer(
        "record_newer",
        f"the record {key!r} in storage was written by a newer version of Radiata ({why}; this one reads formats up to "
        f"{FORMAT}): upgrade Radiata on this machine",
        key=key,
        why=why,
    )


def _why(data: bytes | str, error: ValidationError) -> str:
    if not data:
        return "0 bytes"
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


class EndKind(Kind[T]):
    """How a job ended, a generation or a training. Raises Deleted where what is there says that it was deleted."""

    def read(self, key: str, data: bytes | str) -> T:
        """As of any kind."""
        if len(data) < MOST_DELETED and (match := self.keys.fullmatch(key)):
            with suppress(Unreadable):
                found = DELETED.read(deleted_key(match[1]), data)
                job = "training" if self is TRAINED else "generation"
                message = f"this {job} was deleted; to ask for it again, send its request with another Idempotency-Key"
                raise Deleted(
                    f"{job}_deleted", message, owner=found.owner, at=found.deleted_at, text=DELETED.write(found)
                )
        return super().read(key, data)


MOST_DELETED = 512  # bytes of the record of a deleted generation, which has no texts


def deleted_key(generation_id: str) -> str:
    """Where it stands, besides, that a generation was deleted: what gc goes by, and lists of all."""
    return f"deleted/{generation_id}.json"


DELETED = Kind(r"deleted/([0-9a-f]{32})\.json", JobTombstone, "remove it", lambda one: (one.id,))
_REMOVE = "`DELETE /v1/generations/{0}` clears it away; then send the request again"
PENDING = Kind(r"pending/([0-9a-f]{32})\.json", Accepted, _REMOVE, lambda one: (one.generation.id,), in_new_words)
MANIFEST = EndKind(
    r"generations/([0-9a-f]{32})/manifest\.json", Accepted, _REMOVE, lambda one: (one.generation.id,), in_new_words
)
_TRAIN_AGAIN = "`DELETE /v1/trainings/{0}` clears it away; then send the request again"
TO_TRAIN = Kind(
    r"to-train/([0-9a-f]{32})\.json",
    AcceptedTraining,
    _TRAIN_AGAIN,
    lambda one: (one.training.id,),
    training_in_new_words,
)
TRAINED = EndKind(
    r"trainings/([0-9a-f]{32})/manifest\.json",
    AcceptedTraining,
    _TRAIN_AGAIN,
    lambda one: (one.training.id,),
    training_in_new_words,
)
COURSE = Kind(r"trainings/([0-9a-f]{32})/course\.json", Course, "`DELETE /v1/trainings/{0}` clears the training away")
VERSION = Kind(
    r"names/([^/]+)/([0-9]+)\.json",
    AdapterVersion,
    "upload the file again under the name {0!r}, or `DELETE /v1/adapters/{0}`",
    lambda one: (namespace(one.name, one.owner), str(one.version)),
)
TOMBSTONE = Kind(r"names/([^/]+)/deleted\.json", Tombstone, "`DELETE /v1/adapters/{0}` writes it anew")
VERDICT = Kind(
    r"adapters/([0-9a-f]{64})(?:\.[0-9a-f]{16})?\.json",
    Verdicts,
    "upload the file again: its verdict is written anew",
)
UPLOAD = Kind(r"uploads/([0-9a-f]{32})\.json", Upload, "upload the file again", lambda one: (one.id,))
SETTLED = Kind(r"settled/([0-9a-f]{32})\.json", Upload, "upload the file again", lambda one: (one.id,))
DOWNLOAD = Kind(
    r"fetching/([0-9a-f]{32})\.json", Download, "upload the file again, or have it fetched again", lambda one: (one.id,)
)
RESUMABLE = Kind(r"resumable/([0-9a-f]{32})\.json", Resumable, "upload the file again", lambda one: (one.id,))
_TELL_AGAIN = "remove it, and look at `GET /v1/generations/{0}` for what it would have told"
DELIVERY = Kind(r"webhooks/due/([0-9a-f]{32})\.json", StoredDelivery, _TELL_AGAIN, lambda one: (one.id,))
DELIVERED = Kind(r"webhooks/done/([0-9a-f]{32})\.json", StoredDelivery, _TELL_AGAIN, lambda one: (one.id,))
_AGAIN = "start a worker of model {0!r} again: it writes it anew"
SHAPES = Kind(r"models/([^/]+)\.shapes\.json", Shapes, _AGAIN)
TOKENIZERS = Kind(r"models/([^/]+)\.tokenizers\.json", BaseTokenizers, _AGAIN)
SITES = Kind(r"models/([^/]+)\.sites\.json", BaseSites, _AGAIN)
LAYERS = Kind(r"models/([^/]+)\.layers\.json", BaseLayers, _AGAIN)
DENOISER = Kind(r"models/([^/]+)\.denoiser\.json", BaseDenoiser, _AGAIN)
FACTS = Kind(
    r"adapters/([0-9a-f]{64})(?:\.[0-9a-f]{16})?\.facts\.json",
    AdapterFacts,
    "upload the file again: they are written anew",
)
PROFILE = Kind(r"models/([^/]+)\.json", ModelProfile, _AGAIN, lambda one: (one.name,))
DATASET = Kind(
    r"datasets/(?:@[a-z0-9-]+/)?([0-9a-f]{64})\.json",
    Dataset,
    "`DELETE /v1/datasets/dataset:{0}` and upload it again",
    lambda one: (one.ref.removeprefix(DATASET_PREFIX),),
)
SENT = Kind(r"datasets/sent/(?:@[a-z0-9-]+/)?([0-9a-f]{64})\.json", SentDataset, "upload the dataset again")
IDENTITY = Kind(r"store\.json", StoreIdentity, "remove it, and the key `radiata:store` of Redis, and start again")
KEY = Kind(r"keys/([0-9a-f]{12})\.json", KeyRecord, "`radiata keys revoke {0}` and make another", lambda one: (one.id,))
SECRET = Kind(r"secret\.json", SigningSecret, "remove it: sessions end, and another secret is made")
_LEAVE = "remove it: what it told is lost"
AUDIT = Kind(r"audit/(\d{4}-\d\d-\d\d)/\d{13}-[0-9a-f]{8}\.json", AuditLine, _LEAVE)
USED = Kind(
    r"used/trainings/([0-9a-f]{32})\.json",
    UsedByTraining,
    "remove it: what this training used is lost",
    lambda one: (one.id,),
)
IN_FORCE = Kind(r"audit/settings\.json", InForce, _LEAVE)
KINDS: tuple[Kind[Any], ...] = (
    PENDING,
    MANIFEST,
    DELETED,
    TO_TRAIN,
    TRAINED,
    COURSE,
    USED,
    TOMBSTONE,
    VERSION,
    VERDICT,
    FACTS,
    UPLOAD,
    SETTLED,
    DOWNLOAD,
    RESUMABLE,
    DELIVERY,
    DELIVERED,
    SHAPES,
    TOKENIZERS,
    SITES,
    LAYERS,
    DENOISER,
    PROFILE,
    DATASET,
    SENT,
    IDENTITY,
    KEY,
    SECRET,
    AUDIT,
    IN_FORCE,
)


def tell(redis: Redis, error: Unreadable) -> None:
    """Log a record that was passed over, once a day however many processes pass it."""
    with suppress(RedisError):
        if not redis.set(f"radiata:unreadable:{error.key}", error.why, nx=True, ex=TOLD_S):
            return
    log.error("record_newer" if isinstance(error, Newer) else "record_unreadable", key=error.key, error=error.message)
