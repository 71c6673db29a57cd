"""Keys of callers: made once, shown once, kept as a hash, and ended by being revoked.

Storage is the truth. A key's record never changes, and creating a second object ends it: so one listing says which keys
are new and which were revoked, and a record is read once. What was revoked stays, for a service that has ever had a key
must not be open to all because its last one is gone.

| Storage key | what |
|---|---|
| `keys/<id>.json` | a key: the hash of its secret, its scopes, when it ends, its webhook |
| `keys/<id>.revoked` | when it was revoked |
| `secret.json` | what sessions are signed with (`app/shared/signing.py`) |
"""

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest

from app.shared.audit import Audit
from app.shared.errors import NotFound, Unauthorized, Unreadable
from app.shared.lifecycle import now
from app.shared.owners import FIRST
from app.shared.records import KEY
from app.shared.storage import Storage
from app.shared.wire.key import NO_LIMITS, KeyLimits, KeyRecord, Scope
from app.shared.wire.webhook import Webhook

TEXT = re.compile(r"rad_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")  # a key as it is shown: its id, and 32 random bytes
REVOKED = re.compile(r"keys/([0-9a-f]{12})\.revoked")
NOBODYS = sha256(b"").hexdigest()  # compared where there is no such key, so that this takes as long
UNKNOWN = "this key is none of this service; `radiata keys add` makes one"


def key_key(key_id: str) -> str:
    """Where a key's record is kept."""
    return f"keys/{key_id}.json"


def revoked_key(key_id: str) -> str:
    """What stands here once a key was revoked."""
    return f"keys/{key_id}.revoked"


@dataclass(frozen=True)
class Ring:
    """All keys as they were when storage was asked. A key without a record has one that cannot be read."""

    keys: Mapping[str, KeyRecord | None] = field(default_factory=dict[str, KeyRecord | None])
    revoked: Collection[str] = frozenset()

    @property
    def needed(self) -> bool:
        """Whether every request needs a key: as soon as there is one, whatever became of it."""
        return bool(self.keys or self.revoked)

    def judge(self, text: str, at: datetime) -> KeyRecord:
        """The record of a key that somebody sends; raises Unauthorized."""
        match = TEXT.fullmatch(text)
        record = self.keys.get(match[1]) if match else None
        same = compare_digest(record.digest if record else NOBODYS, _digest(match[2] if match else text))
        if record is None or not same:
            raise Unauthorized("key_unknown", UNKNOWN)
        return self.living(record.id, at)

    def living(self, key_id: str, at: datetime) -> KeyRecord:
        """The record of a key that has not ended, whose holder is known; raises Unauthorized."""
        record = self.keys.get(key_id)
        if record is None:
            raise Unauthorized("key_unknown", UNKNOWN)
        if key_id in self.revoked:
            raise Unauthorized(
                "key_revoked", f"the key {key_id} was revoked; ask whoever runs this service for another"
            )
        if record.expires_at and at >= record.expires_at:
            when = record.expires_at.isoformat(timespec="seconds")
            raise Unauthorized("key_expired", f"the key {key_id} expired at {when}; ask for another")
        return record


class Keyring:
    """Makes keys, revokes them, and reads all of them; raises Unavailable as storage does."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._audit = Audit(storage)
        self._read: dict[str, KeyRecord] = {}

    def add(
        self,
        scopes: Collection[Scope],
        *,
        owner: str = FIRST,
        note: str = "",
        expires_at: datetime | None = None,
        webhook: Webhook | None = None,
        limits: KeyLimits = NO_LIMITS,
    ) -> tuple[str, str]:
        """Make a key; its id, and the key itself, which nobody can tell again."""
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        record = KeyRecord(
            id=key_id,
            digest=_digest(secret),
            owner=owner,
            scopes=sorted(set(scopes)),
            note=note,
            created_at=now(),
            expires_at=expires_at,
            webhook=webhook,
            limits=limits,
        )
        said = " ".join(f"{name}={value}" for name, value in limits.model_dump(exclude_none=True).items())
        self._audit.write("key.added", key_id, owner, scopes=",".join(record.scopes), limits=said)
        self._storage.put(key_key(key_id), KEY.write(record))
        return key_id, f"rad_{key_id}_{secret}"

    def revoke(self, key_id: str) -> None:
        """End a key, whether or not its record can be read; raises NotFound."""
        if not re.fullmatch("[0-9a-f]{12}", key_id) or not self._storage.exists(key_key(key_id)):
            raise NotFound("key_unknown", f"there is no key {key_id!r}; `radiata keys list` names them")
        self._audit.write("key.revoked", key_id)
        self._storage.create(revoked_key(key_id), now().isoformat().encode())

    def ring(self) -> Ring:
        """All keys as they are now."""
        keys: dict[str, KeyRecord | None] = {}
        revoked: set[str] = set()
        for stored in self._storage.keys("keys"):
            if match := KEY.keys.fullmatch(stored):
                keys[match[1]] = self._record(match[1])
            elif match := REVOKED.fullmatch(stored):
                revoked.add(match[1])
        return Ring(keys, frozenset(revoked))

    def _record(self, key_id: str) -> KeyRecord | None:
        if key_id not in self._read:
            try:
                record = KEY.get(self._storage, key_key(key_id))
            except Unreadable:  # `radiata doctor` names it: it opens nothing, and it was made
                return None
            if record is None:
                return None
            self._read[key_id] = record
        return self._read[key_id]


def _digest(secret: str) -> str:
    """The hash that is kept: of 32 random bytes, which nobody finds by trying, so a fast one does."""
    return sha256(secret.encode()).hexdigest()
