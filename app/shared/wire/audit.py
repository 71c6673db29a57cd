"""Lines of the audit, as they are stored and shown."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.shared.wire.values import Owner, Wire

AuditAction = Literal[
    "key.added", "key.revoked", "adapter.added", "adapter.shown", "adapter.deleted", "settings.changed"
]


class AuditLine(Wire):
    """One change: when, what, of what, and whose that is."""

    at: datetime
    action: AuditAction
    subject: str = Field(description="id of a key, name of an adapter")
    owner: Owner = ""
    facts: dict[str, str] = Field(default={}, description="what is new about it")


class InForce(Wire):
    """The settings with which an API process last started."""

    settings: dict[str, str]
