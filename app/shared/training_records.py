"""A training as it is written down when it is accepted, and when it ends; and what is told of a sample."""

from datetime import UTC
from hashlib import sha256

from app.shared.accepted import AcceptedTraining
from app.shared.disposal import main_key
from app.shared.lifecycle import now
from app.shared.owners import FIRST
from app.shared.records import USED
from app.shared.storage import Storage
from app.shared.training_keys import used_key
from app.shared.wire.generation import Status
from app.shared.wire.training import Course, ResolvedTraining, Training, TrainingPicture, TrainingProgress
from app.shared.wire.usage import Used, UsedByTraining


def begun(training_id: str, request: ResolvedTraining, fingerprint: str | None, owner: str = FIRST) -> AcceptedTraining:
    """A training as it is written down when it is accepted, now."""
    training = Training(
        id=training_id,
        owner=owner,
        status=Status.QUEUED,
        progress=TrainingProgress(steps=request.steps),
        request=request,
        created_at=now(),
    )
    return AcceptedTraining(training=training, fingerprint=fingerprint)


def picture_of(training_id: str, step: int, sample: int, data: bytes) -> TrainingPicture:
    """What is told of a sample."""
    url = f"/v1/trainings/{training_id}/samples/{step}-{sample}.png"
    return TrainingPicture(step=step, sample=sample, url=url, sha256=sha256(data).hexdigest())


def ended_now(training: Training, fingerprint: str | None) -> AcceptedTraining:
    """The record of a training that ends now."""
    return AcceptedTraining(training=training.model_copy(update={"finished_at": now()}), fingerprint=fingerprint)


def used_by_training(training: Training, course: Course, size_bytes: int) -> UsedByTraining | None:
    """What a training used that has ended; size_bytes: of its adapter. Redis, which has its progress, may be lost."""
    if training.finished_at is None:
        return None
    told = training.progress
    used = Used(
        day=training.finished_at.astimezone(UTC).date(),
        device_ms=round(max(told.device_seconds, course.device_seconds) * 1000),
        steps=max(told.trained_steps, course.trained - course.began, 0),
        size_bytes=size_bytes,
    )
    return UsedByTraining(id=training.id, owner=training.owner, used=used)


def note_used(storage: Storage, training: Training, course: Course) -> None:
    """Write down what a training used that has ended; the first word of it stays. Raises Unavailable."""
    made = training.adapter and storage.size(main_key("adapters", training.adapter.sha256))
    if used := used_by_training(training, course, made or 0):
        storage.create(used_key(training.id), USED.write(used))
