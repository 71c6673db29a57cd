"""Webhooks on the wire: who is called when a generation ends, and what became of the calls."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from app.shared.text import no_control_characters
from app.shared.wire.values import Owner, Wire

WebhookEvent = Literal["generation.succeeded", "generation.failed", "generation.canceled"]
EVENTS: list[WebhookEvent] = ["generation.succeeded", "generation.failed", "generation.canceled"]
KEPT = 10  # of the last tries


class Webhook(Wire):
    """Who is called when a generation ends, as Standard Webhooks say."""

    url: Annotated[str, StringConstraints(min_length=10, max_length=2048), AfterValidator(no_control_characters)] = (
        Field(description="an `https://` address that takes a POST", examples=["https://example.org/radiata"])
    )
    events: list[WebhookEvent] = Field(
        EVENTS, min_length=1, max_length=3, description="of what it is told; without them, of every end"
    )


class Try(Wire):
    """One call, and what was answered, or why nothing was."""

    at: datetime
    status: int | None = None
    error: str = ""


class Delivery(Wire):
    """One message to one address; its id is the generation's, and the `webhook-id` of every try."""

    id: str
    event: WebhookEvent
    url: str = Field(description="without its query")
    status: Literal["waiting", "delivered", "failed"] = "waiting"
    tries: int = 0
    last: list[Try] = Field(default=[], description=f"the last {KEPT} tries")
    created_at: datetime
    next_at: datetime | None = Field(default=None, description="when it is tried again")


class StoredDelivery(Wire):
    """A delivery as it is stored; url: as it was given, which may hold what opens it, and is shown to nobody."""

    delivery: Delivery
    url: str
    owner: Owner = ""

    @property
    def id(self) -> str:
        """Of the delivery."""
        return self.delivery.id
