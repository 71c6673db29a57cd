"""A training as it is written down when it is accepted, and when it ends; and what is told of a sample."""

from hashlib import sha256

from app.shared.accepted import AcceptedTraining
from app.shared.lifecycle import now
from app.shared.owners import FIRST
from app.shared.wire.generation import Status
from app.shared.wire.training import ResolvedTraining, Training, TrainingPicture, TrainingProgress


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
