"""Keys of callers, as they are stored: what each may do, and until when; the key itself is kept as a hash alone."""

from datetime import datetime
from typing import Literal, get_args

from pydantic import Field

from app.shared.wire.values import Owner, Sha256, Wire
from app.shared.wire.webhook import Webhook

Scope = Literal["draw", "upload", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class KeyLimits(Wire):
    """Limits of one key, each in place of the setting `limit_…` of its name; None: that one holds, 0: without limit."""

    requests: int | None = Field(default=None, ge=0, description="a minute, sent with this key")
    uploads: int | None = Field(default=None, ge=0, description="a minute, sent with this key")
    generations: int | None = Field(
        default=None, ge=0, description="of its owner, waiting or running, beside the new one"
    )
    trainings: int | None = Field(default=None, ge=0, description="likewise")


NO_LIMITS = KeyLimits()


class KeyRecord(Wire):
    """A key as it was made; it never changes."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$", description="the part of the key that may be shown")
    digest: Sha256 = Field(description="of the rest of it")
    owner: Owner = Field(default="", description="who it stands for; empty: the first owner")
    scopes: list[Scope]
    note: str = Field("", max_length=200, description="what its maker says of it")
    created_at: datetime
    expires_at: datetime | None = None
    webhook: Webhook | None = Field(None, description="of generations whose requests name none")
    limits: KeyLimits = Field(default=NO_LIMITS, description="its own")


class SigningSecret(Wire):
    """What this service signs with, so that it knows its own words again."""

    secret: Sha256
