"""The only functions that RQ calls, by dotted name and with JSON arguments."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.drawing.engine import Engine
    from workers.intake import Intake

_engine: "Engine | None" = None
_intake: "Intake | None" = None


def hold_engine(engine: "Engine") -> None:
    """Let `generate` draw with this engine, in this process."""
    global _engine
    _engine = engine


def hold_intake(intake: "Intake") -> None:
    """Let `inspect_upload` judge with this intake, in this process and its forks."""
    global _intake
    _intake = intake


def generate(generation_id: str) -> None:
    """Draw an accepted generation."""
    assert _engine is not None, "runs only in an engine process"
    _engine.run(generation_id)


def inspect_upload(upload_id: str) -> None:
    """Judge an uploaded file; admit or refuse it."""
    assert _intake is not None, "runs only in an intake worker"
    _intake.run(upload_id)
