"""What is stored of a generation or a training, from its acceptance on and from its end on; never on the wire."""

from datetime import datetime, timedelta

from pydantic import Field

from app.shared.wire.generation import Generation, Status
from app.shared.wire.training import Training
from app.shared.wire.usage import Used
from app.shared.wire.values import Wire
from app.shared.wire.webhook import Webhook


class Aside(Wire):
    """What a request says that decides nothing of its pictures; start_within_s: seconds from its acceptance on."""

    metadata: dict[str, str] = Field(default={})
    start_within_s: float | None = None
    webhook: Webhook | None = None


class Accepted(Wire):
    """A generation as it was accepted, with what its idempotency key was used for."""

    generation: Generation
    fingerprint: str | None = None
    request_id: str = ""  # of the request that asked for it first, for the log
    traceparent: str = ""  # of the same, where it is traced
    webhook: Webhook | None = None

    @property
    def id(self) -> str:
        """Of the generation."""
        return self.generation.id

    @property
    def owner(self) -> str:
        """Of the generation."""
        return self.generation.owner

    @property
    def status(self) -> Status:
        """Of the generation."""
        return self.generation.status


TOLD_FOR = timedelta(days=7)  # that a deleted generation is answered 410; no worker is at one for so long


class JobTombstone(Wire):
    """What takes the place of the end of a generation, or a training, once it is deleted: nobody ends it anew."""

    id: str
    owner: str = ""
    created_at: datetime
    deleted_at: datetime
    used: Used | None = None


class AcceptedTraining(Wire):
    """A training as it was accepted, with what its idempotency key was used for."""

    training: Training
    fingerprint: str | None = None

    @property
    def id(self) -> str:
        """Of the training."""
        return self.training.id

    @property
    def owner(self) -> str:
        """Of the training."""
        return self.training.owner

    @property
    def status(self) -> Status:
        """Of the training."""
        return self.training.status
