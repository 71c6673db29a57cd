"""Webhooks, delivered: signed, through the guard, tried again for a day."""

import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog

from app.shared.errors import Newer, SourceAway, SourceRefused, Unreadable
from app.shared.fetching.fetcher import Bounds, Fetcher
from app.shared.generations import Ledger
from app.shared.webhooks import Webhooks, message, signed
from app.shared.wire.generation import Generation
from app.shared.wire.webhook import KEPT, StoredDelivery, Try

log = structlog.get_logger()

HOUR = 3600.0
PAUSES_S = (5.0, 300.0, HOUR / 2, 2 * HOUR, 5 * HOUR, 8 * HOUR, 8 * HOUR)  # before each other try: 23.6 hours in all
BOUNDS = Bounds(0, 20)  # nothing of what is answered is read
GONE = 410  # whoever answers it wants no more


def _as_it_is(generation: Generation) -> Generation:
    return generation


class Delivering:
    """Makes one delivery at a call.

    secret: gives what an owner's messages are signed with; seen: a generation as its receiver sees it; clock: the time
    in seconds.
    """

    most, share = 32, 8

    def __init__(
        self,
        webhooks: Webhooks,
        ledger: Ledger,
        fetcher: Fetcher,
        secret: Callable[[str], str],
        seen: Callable[[Generation], Generation] = _as_it_is,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._webhooks, self._ledger, self._fetcher, self._secret = webhooks, ledger, fetcher, secret
        self._shown = seen
        self._clock, self._pruned = clock, 0.0

    def pending(self) -> Iterable[str]:
        """Every delivery that is to be made; those that were made long ago are forgotten, once an hour."""
        if self._clock() - self._pruned >= HOUR:
            self._pruned = self._clock()
            self._webhooks.prune()
        return self._webhooks.pending()

    def owner(self, task_id: str) -> str:
        """Whose a delivery is."""
        with suppress(Unreadable):
            stored = self._webhooks.due(task_id)
            return stored.owner if stored else ""
        return ""

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Make a delivery; seconds after which it is tried again, or None where it was taken, or given up."""
        stored = self._webhooks.due(task_id)
        if stored is None:
            return None
        wait_s = (stored.delivery.next_at.timestamp() - self._clock()) if stored.delivery.next_at else 0.0
        if wait_s > 0:  # Redis had forgotten when it is due
            return wait_s
        look()
        try:
            ended = self._ledger.end(task_id)
        except Newer:
            raise
        except Unreadable as error:
            log.error("record_unreadable", key=error.key, error=error.message)
            self._over(stored, "failed", Try(at=self._now(), error="the record of the generation cannot be read"))
            return None
        if ended is None:  # it was removed meanwhile: nobody is told of it
            self._over(stored, "failed", Try(at=self._now(), error="the generation is not there any more"))
            return None
        tried, final = self._try(stored, message(self._shown(ended)))
        if tried.status is not None and 200 <= tried.status < 300:
            self._over(stored, "delivered", tried)
            return None
        if final or stored.delivery.tries >= len(PAUSES_S):
            host = urlsplit(stored.url).hostname  # the path may be what opens it
            log.warning("webhook_given_up", generation=task_id, host=host, status=tried.status)
            self._over(stored, "failed", tried)
            return None
        pause_s = PAUSES_S[stored.delivery.tries] * random.uniform(1.0, 1.05)
        next_at = datetime.fromtimestamp(self._clock() + pause_s, UTC)
        self._webhooks.update(_after(stored, tried, status="waiting", next_at=next_at))
        return pause_s

    def _try(self, stored: StoredDelivery, body: bytes) -> tuple[Try, bool]:
        """Return what came of a call, and whether no other could end otherwise."""
        at = self._now()
        headers = signed(self._secret(stored.owner), stored.id, int(self._clock()), body)
        try:
            status = self._fetcher.post(stored.url, body, headers, BOUNDS)
        except SourceRefused as refusal:
            return Try(at=at, error=refusal.message), True
        except SourceAway as away:
            return Try(at=at, error=away.message), False
        error = "" if 200 <= status < 300 else f"{stored.delivery.url} answered {status}"
        return Try(at=at, status=status, error=error), status == GONE

    def _over(self, stored: StoredDelivery, status: str, tried: Try) -> None:
        self._webhooks.over(_after(stored, tried, status=status, next_at=None))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC).replace(microsecond=0)


def _after(stored: StoredDelivery, tried: Try, **facts: object) -> StoredDelivery:
    one = stored.delivery
    more = {"tries": one.tries + 1, "last": [*one.last, tried][-KEPT:], **facts}
    return stored.model_copy(update={"delivery": one.model_copy(update=more)})
