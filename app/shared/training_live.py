"""What Redis tells of a training that has not ended, over what was accepted."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.shared.wire.generation import Status
from app.shared.wire.training import Training, TrainingPicture, TrainingProgress

PICTURES = TypeAdapter(list[TrainingPicture])


def as_it_stands(training: Training, live: Mapping[str, str]) -> Training:
    """A training as it was accepted, with the live state that Redis has; Redis is data too."""
    if training.status.ended:
        return training
    told: dict[str, Any] = {}
    if live.get("status") == Status.RUNNING:
        told["status"] = Status.RUNNING
    with suppress(ValidationError, KeyError):
        progress = TrainingProgress.model_validate_json(live["progress"])
        told["progress"] = progress.model_copy(update={"steps": training.progress.steps})
    with suppress(ValidationError, KeyError):
        told["pictures"] = PICTURES.validate_json(live["pictures"])
    with suppress(ValueError, KeyError):
        told["started_at"] = datetime.fromisoformat(live["started_at"])
    return training.model_copy(update=told)
