"""Webhooks: what is to be told of a generation that has ended, from its end until somebody has taken it.

A delivery is `webhooks/due/<id>.json` until it was taken or given up, then `webhooks/done/<id>.json` for a week; its id
is the generation's. It is written before the generation's pending record goes, so whoever dies, it is there. What is
sent is made of the generation as storage has it, and signed anew with each try.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest

from redis import Redis
from redis.exceptions import RedisError

from app.shared.errors import NotFound, Unreadable
from app.shared.outgoing import Outgoing
from app.shared.owners import FIRST, Asker
from app.shared.records import DELIVERED, DELIVERY
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.wire.generation import Generation
from app.shared.wire.webhook import Delivery, StoredDelivery, Webhook

KIND = "webhook"
KEPT = timedelta(days=7)
PREFIX = "whsec_"


def due_key(delivery_id: str) -> str:
    """Where a delivery is kept that is to be made."""
    return f"webhooks/due/{delivery_id}.json"


def done_key(delivery_id: str) -> str:
    """Where it is kept once it was taken, or given up."""
    return f"webhooks/done/{delivery_id}.json"


def shown(url: str) -> str:
    """Return an address without its query, which may be what opens it."""
    return url.partition("?")[0].partition("#")[0]


def message(generation: Generation) -> bytes:
    """Return what is sent of a generation that has ended."""
    told = {
        "type": f"generation.{generation.status}",
        "timestamp": (generation.finished_at or generation.created_at).isoformat(),
        "data": generation.model_dump(mode="json"),
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def webhook_secret(signer: Signer, settings: Settings, owner: str = FIRST) -> str:
    """Return the secret that an owner's messages are signed with.

    The first owner's is the one that settings have, or this store's own; each other's is made of that and their name,
    so that no owner can sign what another takes for the service's.
    """
    if settings.webhook_secret:
        secret = settings.webhook_secret.get_secret_value()
    else:
        secret = PREFIX + base64.b64encode(bytes.fromhex(signer.sign("secret of webhooks"))).decode()
    if owner == FIRST:
        return secret
    return PREFIX + base64.b64encode(digest(_key(secret), f"secret of {owner}".encode(), sha256)).decode()


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX) + "==")


def signed(secret: str, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message (Standard Webhooks 1.0.0, HMAC-SHA256)."""
    signature = base64.b64encode(digest(_key(secret), f"{message_id}.{seconds}.".encode() + body, sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{signature}",
        "Content-Type": "application/json",
    }


class Webhooks:
    """Knows every delivery.

    asker: as whom deliveries are looked for; nobody else's are there.
    """

    def __init__(self, storage: Storage, redis: Redis, asker: Asker = None) -> None:
        self._asker = asker
        self._storage = storage
        self._outgoing = Outgoing(redis)

    def begin(self, generation: Generation, webhook: Webhook | None) -> None:
        """Have the end of a generation told where that was asked for; twice is the same as once."""
        event = f"generation.{generation.status}"
        if webhook is None or event not in webhook.events or self._storage.exists(done_key(generation.id)):
            return
        delivery = Delivery(id=generation.id, event=event, url=shown(webhook.url), created_at=datetime.now(UTC))
        stored = StoredDelivery(delivery=delivery, url=webhook.url, owner=generation.owner)
        if self._storage.create(due_key(generation.id), DELIVERY.write(stored)):
            with suppress(RedisError):  # who delivers looks into storage too
                self._outgoing.put(f"{KIND}:{generation.id}")

    def due(self, delivery_id: str) -> StoredDelivery | None:
        """A delivery that is to be made, or None; raises Unreadable."""
        return DELIVERY.get(self._storage, due_key(delivery_id))

    def pending(self) -> Iterator[str]:
        """Ids of all that are to be made."""
        return DELIVERY.ids(self._storage, "webhooks/due")

    def prune(self) -> None:
        """Forget what was made a week ago."""
        for key, when in self._storage.entries("webhooks/done"):
            if datetime.now(UTC) - when > KEPT:
                self._storage.delete(key)

    def update(self, stored: StoredDelivery) -> None:
        """Write down what became of a try."""
        self._storage.put(due_key(stored.id), DELIVERY.write(stored))

    def over(self, stored: StoredDelivery) -> None:
        """Write down that no try follows."""
        self._storage.put(done_key(stored.id), DELIVERED.write(stored))
        self._storage.delete(due_key(stored.id))

    def list(self, limit: int) -> list[Delivery]:
        """The newest deliveries, made or not; those that cannot be read are left out."""
        written = [*self._storage.entries("webhooks/due"), *self._storage.entries("webhooks/done")]
        found: list[Delivery] = []
        for key, _ in sorted(written, key=lambda one: one[1], reverse=True):
            if len(found) == limit:
                break
            kind = DELIVERY if DELIVERY.keys.fullmatch(key) else DELIVERED
            with suppress(Unreadable):
                if (stored := kind.get(self._storage, key)) and self._asker in (None, stored.owner):
                    found.append(stored.delivery)
        return found

    def again(self, delivery_id: str) -> Delivery:
        """Have a delivery made once more, now; raises NotFound and Unreadable."""
        stored = self.due(delivery_id) or DELIVERED.get(self._storage, done_key(delivery_id))
        if stored is None or self._asker not in (None, stored.owner):
            raise NotFound("delivery_unknown", "there is no such delivery; those that were made are kept for a week")
        anew = {"status": "waiting", "tries": 0, "next_at": None, "created_at": datetime.now(UTC)}
        stored = stored.model_copy(update={"delivery": stored.delivery.model_copy(update=anew)})
        self.update(stored)
        self._storage.delete(done_key(delivery_id))
        with suppress(RedisError):
            self._outgoing.put(f"{KIND}:{delivery_id}")
        return stored.delivery
