"""Who calls: the keys as they were a moment ago, and what a request shows of them.

Each API process keeps a copy of all keys for two seconds, so a key that was added or revoked counts everywhere within
them. While storage is away, the copy is used for a minute; then a service with keys answers nobody. One request waits a
moment to learn that storage is away; those that follow are answered from the copy, and storage is asked meanwhile. A
process that has seen a key never takes a request without one again, whatever storage says later.
"""

import asyncio
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from app.shared.errors import RadiataError, Unauthorized, Unavailable
from app.shared.keys import TEXT, Keyring, Ring
from app.shared.lifecycle import now
from app.shared.owners import Asker
from app.shared.signing import Signer
from app.shared.wire.key import NO_LIMITS, SCOPES, KeyLimits, KeyRecord, Scope
from app.shared.wire.webhook import Webhook

log = structlog.get_logger()

FRESH_S = 2.0  # that the copy is used without asking
ANSWER_S = 1.0  # that a request waits for storage, and for which nobody else does after it has failed
AWAY_S = 60.0  # that the copy is used while storage does not answer
SESSION = timedelta(days=7)
COOKIE = "radiata"  # of the session, and what its signature is of
CALLER = "radiata.caller"  # in the scope, of every request that passed but for those that are open to all
BEARER, BASIC = "bearer ", "basic "  # of the second, a password that is a key; another is of a proxy in front
SCHEMES = (BEARER, "key ", "token ")  # the last two as clients of fal and older ones of Replicate say it
MISSING = "every request needs a key here: send `Authorization: Bearer …`, or open the page and give it there"


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, as far as that is known."""

    scopes: frozenset[Scope]
    key_id: str = ""  # empty where the service has no keys
    owner: Asker = None  # nobody in particular, there
    limits: KeyLimits = NO_LIMITS
    webhook: Webhook | None = None  # of generations that name none


def cookie_name(scheme: str, prefix: str) -> str:
    """What the cookie of a session is called: over TLS so that browsers take it from this host alone, set over TLS.

    Below a prefix it has that path, which a name with `__Host-` may not have.
    """
    return COOKIE if scheme != "https" else f"__Secure-{COOKIE}" if prefix else f"__Host-{COOKIE}"


ANYBODY = Caller(frozenset(SCOPES))


class Callers:
    """Knows callers by their keys."""

    def __init__(self, keyring: Keyring, signer: Signer, clock: Callable[[], float] = time.monotonic) -> None:
        self._keyring = keyring
        self._signer = signer
        self._clock = clock
        self._ring = Ring()
        self._asked = float("-inf")  # when storage was asked for the copy
        self._until = float("-inf")  # to when it is used without asking
        self._task: asyncio.Task[None] | None = None
        self._needed = False
        self._away = False  # storage did not answer in time when it was last asked

    @property
    def needed(self) -> bool:
        """Whether every request needs a key, as far as this process knows."""
        return self._needed

    async def ring(self) -> Ring:
        """All keys as they were a moment ago; raises Unavailable where nobody can tell any more."""
        if self._clock() < self._until:
            return self._ring
        if self._task is None:
            self._task = asyncio.create_task(self._read())
        if self._away and self._holds():
            return self._ring
        answered, _ = await asyncio.wait([self._task], timeout=ANSWER_S)  # it goes on, for whoever comes next
        self._away = self._away or not answered
        if not self._holds():
            raise Unavailable("keys_unavailable", "storage, which has the keys, does not answer: try again in a moment")
        return self._ring

    def _holds(self) -> bool:
        """Whether the copy may still be used: that of a service with keys for a minute."""
        age = self._clock() - self._asked
        return age <= AWAY_S or not (self._needed or age == float("inf"))

    async def _read(self) -> None:
        asked = self._clock()
        try:
            self._ring, self._asked = await run_in_threadpool(self._keyring.ring), asked
            self._needed = self._needed or self._ring.needed
            if self._needed:  # so that nobody waits for the secret on the event loop
                await run_in_threadpool(self._signer.sign)
            self._until = self._clock() + FRESH_S
            self._away = False
        except RadiataError as error:
            log.warning("keys_not_read", error=error.message)
            self._until = self._clock() + ANSWER_S
            self._away = True
        finally:
            self._task = None

    async def caller(self, headers: Headers, cookie: str = COOKIE) -> Caller:
        """Who sent these headers; cookie: what that of a session is called. Raises Unauthorized and Unavailable."""
        ring = await self.ring()
        if not self._needed:
            return ANYBODY
        shown = _shown(headers)
        if shown:
            record = ring.judge(shown, now())
        elif session := cookie_parser(headers.get("cookie", "")).get(cookie):
            record = await run_in_threadpool(self._of_session, ring, session)
        else:
            raise Unauthorized("key_missing", MISSING)
        return Caller(frozenset(record.scopes), record.id, record.owner, record.limits, record.webhook)

    async def begin_session(self, key: str) -> tuple[KeyRecord, str, datetime]:
        """The record of a key, a cookie that stands for it, and until when; raises Unauthorized and Unavailable."""
        record = (await self.ring()).judge(key, now())
        ends = now() + SESSION
        until = round(min(ends, record.expires_at or ends).timestamp())
        signature = await run_in_threadpool(self._signer.sign, COOKIE, record.id, str(until))
        return record, f"{record.id}.{until}.{signature}", datetime.fromtimestamp(until, UTC)

    def _of_session(self, ring: Ring, cookie: str) -> KeyRecord:
        key_id, _, rest = cookie.partition(".")
        until, _, signature = rest.partition(".")
        if (
            not until.isdecimal()
            or not self._signer.is_good(signature, COOKIE, key_id, until)
            or time.time() > int(until)
        ):
            raise Unauthorized("session_over", "this session is over, or was never begun here: give the key again")
        return ring.living(key_id, now())


def _shown(headers: Headers) -> str:
    """The key in the headers of a request, or nothing; raises Unauthorized where it is not just one."""
    given = headers.getlist("authorization")
    said = [one.partition(" ")[2] for one in given if one.lower().startswith(SCHEMES)]
    passwords = [_password(one[len(BASIC) :]).strip() for one in given if one.lower().startswith(BASIC)]
    said += [one for one in passwords if TEXT.fullmatch(one)]
    found = [one.strip() for one in [*said, *headers.getlist("x-api-key")]]
    if len(set(found)) > 1:
        raise Unauthorized("key_twice", "the request shows two keys; show the one that it is sent with")
    return found[0] if found else ""


def _password(shown: str) -> str:
    """The password of HTTP Basic; empty where it cannot be read."""
    try:
        return b64decode(shown.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
