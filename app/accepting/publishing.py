"""A training's checkpoint as an upload: judged by intake and given its version, as every file is."""

from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.deps import Service
from app.shared.errors import Conflict, NotFound
from app.shared.lifecycle import id_for, now
from app.shared.wire.upload import Upload, UploadStatus

SALT = "radiata published checkpoint"


def staged_checkpoint(service: Service, training_id: str, step: int, idempotency_key: str | None) -> Upload:
    """Return the upload of the adapter of a training's checkpoint, with this key the one that it was before.

    Raises NotFound, Unreadable, and Conflict where the key was used for another checkpoint.
    """
    training = service.trainings.get(training_id)
    found = service.trainings.courses.adapter(training_id, step)
    if found is None:
        kept = ", ".join(str(one.step) for one in training.checkpoints) or "none"
        message = f"no adapter of step {step} is kept of this training; of these steps there is one: {kept}"
        raise NotFound("checkpoint_unknown", message)
    # Not a copy within storage: the sweep clears bytes of no upload away that are as old as a checkpoint may be
    with NamedTemporaryFile(prefix="radiata-adapter-") as file:
        (size, chunks), digest = found, sha256()
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        upload = Upload(
            id=id_for(idempotency_key, training.owner, SALT),
            owner=training.owner,
            status=UploadStatus.INSPECTING,
            name=training.request.name,
            description=training.request.description,
            sha256=digest.hexdigest(),
            size_bytes=size,
            created_at=now(),
        )
        known = service.uploads.records.either(upload.id) if idempotency_key else None
        if known is None:
            service.uploads.stage(upload, Path(file.name))
            return upload
    if (known.name, known.sha256) != (upload.name, upload.sha256):
        message = "this Idempotency-Key was used for another checkpoint; use a new key for a new request"
        raise Conflict("idempotency_key_reused", message)
    return known
