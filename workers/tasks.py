"""The only functions that RQ calls, by dotted name and with JSON arguments."""

from typing import TYPE_CHECKING, Protocol

from app.shared.log import about

if TYPE_CHECKING:
    from workers.intake import Intake


class Drawer(Protocol):
    """What draws: an engine, or what puts back in place of one."""

    def run(self, generation_id: str) -> None:
        """Draw what was accepted, and end it."""
        ...


class Trainer(Protocol):
    """What trains; the rest of the service does not know it."""

    def run(self, training_id: str) -> None:
        """Train what was accepted, and end it."""
        ...


_engine: Drawer | None = None
_intake: "Intake | None" = None
_trainer: Trainer | None = None


def hold_engine(engine: Drawer) -> None:
    """Let `generate` draw with this engine, in this process."""
    global _engine
    _engine = engine


def hold_intake(intake: "Intake") -> None:
    """Let `inspect_upload` judge with this intake, in this process and its forks."""
    global _intake
    _intake = intake


def hold_trainer(trainer: Trainer) -> None:
    """Let `train` train with this trainer, in this process."""
    global _trainer
    _trainer = trainer


def generate(generation_id: str) -> None:
    """Draw an accepted generation."""
    assert _engine is not None, "runs only in an engine process"
    with about(generation=generation_id):
        _engine.run(generation_id)


def inspect_upload(upload_id: str) -> None:
    """Judge an uploaded file; admit or refuse it."""
    assert _intake is not None, "runs only in an intake worker"
    with about(upload=upload_id):
        _intake.run(upload_id)


def train(training_id: str) -> None:
    """Train an accepted training."""
    assert _trainer is not None, "runs only in the process of a training"
    with about(training=training_id):
        _trainer.run(training_id)
