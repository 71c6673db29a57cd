"""What is stored of a generation, from its acceptance on and from its end on; never on the wire."""

from app.shared.wire.generation import Generation, Status
from app.shared.wire.values import Wire


class Accepted(Wire):
    """A generation as it was accepted, with what its idempotency key was used for."""

    generation: Generation
    fingerprint: str | None = None

    @property
    def id(self) -> str:
        """Of the generation."""
        return self.generation.id

    @property
    def status(self) -> Status:
        """Of the generation."""
        return self.generation.status
