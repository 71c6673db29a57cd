"""The audit: what was changed of keys, adapters and settings, a line for each, kept for ever and never changed.

A line is written with its change: of a key before it, of an adapter right after it, where it is missing if storage goes
away or its writer dies in that moment. Lines hold ids and names, and no secret.

| Storage key | what |
|---|---|
| `audit/<day>/<milliseconds>-<random>.json` | one line |
| `audit/settings.json` | the settings with which an API process last started, as a line tells them |
"""

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

from pydantic import SecretStr

from app.shared.discretion import Discretion
from app.shared.errors import Unreadable
from app.shared.owners import FIRST
from app.shared.records import AUDIT, IN_FORCE
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.audit import AuditAction, AuditLine, InForce

FOLDER = "audit"
IN_FORCE_KEY = f"{FOLDER}/settings.json"


class Audit:
    """Writes lines, and reads them; raises Unavailable as storage does."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, action: AuditAction, subject: str, owner: str = FIRST, **facts: str) -> None:
        """Write a line; subject: what was changed, by its id or name."""
        line = AuditLine(at=datetime.now(UTC), action=action, subject=subject, owner=owner, facts=facts)
        key = f"{FOLDER}/{line.at:%Y-%m-%d}/{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(4)}.json"
        self._storage.put(key, AUDIT.write(line))

    def lines(self, since: date | None = None, until: date | None = None) -> Iterator[AuditLine]:
        """Yield the lines of the days from `since` to `until`, in order; those that cannot be read are left out."""
        for key in sorted(self._storage.keys(FOLDER)):
            match = AUDIT.keys.fullmatch(key)
            day = date.fromisoformat(match[1]) if match else None
            if day is None or (since and day < since) or (until and day > until):
                continue
            try:
                line = AUDIT.get(self._storage, key)
            except Unreadable:
                continue
            if line:
                yield line

    def started(self, settings: Settings) -> None:
        """Write what has changed in the settings since an API process started last, if anything has."""
        found = in_force(settings)
        try:
            before = IN_FORCE.get(self._storage, IN_FORCE_KEY)
        except Unreadable:
            before = None
        known = before.settings if before else {}
        if changed := {name: value for name, value in found.items() if known.get(name) != value}:
            self.write("settings.changed", "settings", **changed)
            self._storage.put(IN_FORCE_KEY, IN_FORCE.write(InForce(settings=found)))


def in_force(settings: Settings) -> dict[str, str]:
    """Return all settings as texts: of a secret only whether it is set, of an address no password."""
    quiet = Discretion()
    return {name: quiet(None, "", {"said": _text(getattr(settings, name))})["said"] for name in Settings.model_fields}


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return "set"
    return "unset" if value is None else str(value)
