"""Where what belongs to a training is stored.

| Storage key | what | kept for |
|---|---|---|
| `trainings/<id>/checkpoints/<step>-<hash>.safetensors` | factors, optimiser and step; the two newest | the training |
| `trainings/<id>/samples/<step>-<sample>.png` | a sample, drawn with that checkpoint | the training |
| `trainings/<id>/adapters/<step>.safetensors` | the adapter as it was then | as its entry in `course.json` |
| `trainings/<id>/course.json` | those adapters' steps and losses; notes (`app/shared/course.py`) | the training |
| `trainings/<id>/stop` | somebody wants it ended, and what it has learned so far kept | its end |
| `trainings/<id>/room` | nothing: it is deleted where there is no room for the end (`app/shared/course.py`) | its end |
| `trainings/<id>/naming` | its adapter is about to get its version: it is too late to cancel | its end |
"""


def pending_key(training_id: str) -> str:
    """Where an accepted training is kept until it ends."""
    return f"to-train/{training_id}.json"


def folder_of(training_id: str) -> str:
    """Below which everything of a training is kept."""
    return f"trainings/{training_id}"


def manifest_key(training_id: str) -> str:
    """Where the end of a training is kept."""
    return f"{folder_of(training_id)}/manifest.json"


def checkpoint_folder(prefix: str) -> str:
    """Where checkpoints are kept, below a training's folder, or below any prefix."""
    return f"{prefix}/checkpoints" if prefix else "checkpoints"


def checkpoint_name(step: int, digest: str) -> str:
    """Name of the checkpoint after a step; digest: the sha256 of its bytes, which tells one that was spoilt later."""
    return f"{step:07d}-{digest[:16]}.safetensors"


def sample_key(training_id: str, step: int, sample: int) -> str:
    """Where a sample that was drawn with a checkpoint is kept."""
    return f"{folder_of(training_id)}/samples/{step:07d}-{sample}.png"


def course_key(training_id: str) -> str:
    """Where the course of a training is kept."""
    return f"{folder_of(training_id)}/course.json"


USED_FOLDER = "used/trainings"


def used_key(training_id: str) -> str:
    """Where it is kept for ever what a training used."""
    return f"{USED_FOLDER}/{training_id}.json"


def adapter_key(training_id: str, step: int) -> str:
    """Where the adapter of a checkpoint is kept."""
    return f"{folder_of(training_id)}/adapters/{step:07d}.safetensors"


def stop_key(training_id: str) -> str:
    """What stands here while somebody wants it ended, and what it has learned kept."""
    return f"{folder_of(training_id)}/stop"


def room_key(training_id: str) -> str:
    """What is deleted when storage has no room for the end of a training."""
    return f"{folder_of(training_id)}/room"


def naming_key(training_id: str) -> str:
    """What stands here from when its adapter is about to get its version."""
    return f"{folder_of(training_id)}/naming"
