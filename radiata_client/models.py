"""What the service answers, typed and frozen; a field that a newer service adds is kept, as an attribute too.

Compared with `/openapi.json` by a test: no field here is unknown there, and none is of another type.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

State = Literal["queued", "running", "succeeded", "failed", "canceled"]


class Model(BaseModel):
    """Anything that is answered."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Progress(Model):
    """Denoising steps done, over all pictures of a generation."""

    step: int = 0
    steps: int


class Preview(Model):
    """What is being drawn, small; data: a URL with a WebP in it."""

    index: int
    step: int
    width: int
    height: int
    data: str


class Failure(Model):
    """Why a job failed."""

    code: str
    message: str


class Image(Model):
    """One picture that was drawn."""

    index: int
    url: str
    seed: int
    width: int
    height: int
    sha256: str


class Generation(Model):
    """An accepted request and its life; request: as it was resolved."""

    id: str
    status: State
    queue_position: int | None = None
    progress: Progress
    request: dict[str, Any]
    images: tuple[Image, ...] = ()
    error: Failure | None = None
    metadata: dict[str, str] = {}
    starred: bool = False
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Adapter(Model):
    """An adapter in the catalog; verdict: what its inspection found, where it was asked for by its name."""

    name: str
    version: int
    sha256: str
    description: str = ""
    size_bytes: int
    kind: Literal["weights", "embedding", "control", "image_prompt"] = "weights"
    components: tuple[str, ...]
    fits: tuple[str, ...]
    created_at: datetime
    verdict: dict[str, Any] | None = None


class Picture(Model):
    """A picture that was sent; `ref` names it in requests."""

    ref: str
    width: int
    height: int
    alpha: bool = False
    notes: tuple[str, ...] = ()


class Dataset(Model):
    """Pictures with captions; `ref` names it in trainings; report: what was found in it."""

    ref: str
    report: dict[str, Any] = {}
    created_at: datetime


class TrainingProgress(Model):
    """Optimiser steps done, and how they go; what is not known yet is None."""

    step: int = 0
    steps: int
    loss: float | None = None
    pictures_per_s: float | None = None
    remaining_s: float | None = None


class Training(Model):
    """An accepted training and its life; adapter: what it came to."""

    id: str
    status: State
    progress: TrainingProgress
    request: dict[str, Any]
    adapter: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
