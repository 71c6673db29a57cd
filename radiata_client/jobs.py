"""Jobs, whichever face follows them: what is told of their events, and what their ends are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from radiata_client.calls import Calls
from radiata_client.core import GENERATIONS, TRAININGS
from radiata_client.effects import Operation
from radiata_client.errors import Canceled, Failed
from radiata_client.events import Event
from radiata_client.models import Generation, Image, Model, Preview, Progress, Training, TrainingProgress

S = TypeVar("S", Generation, Training)
P = TypeVar("P", bound=Model)


@dataclass(frozen=True)
class Kind(Generic[S, P]):
    """A kind of job: where it is, what it is, and what its progress is."""

    below: str
    state: type[S]
    progress: type[P]

    def followed(self, calls: Calls, job: S, previews: bool = False) -> Operation[S]:
        """The job as it ended; its progress is told, and previews of it where they are wanted."""

        def shown(event: Event) -> Model | None:
            model = {"progress": self.progress, "preview": Preview}.get(event.kind)
            try:
                return model.model_validate(event.data) if model else None
            except ValidationError:  # of another version, or none of ours
                return None

        found = yield from calls.follow(self.below, job.model_dump(include={"id", "status"}), shown, previews)
        return job if found.keys() == {"id", "status"} else self.state.model_validate(found)

    def canceled(self, calls: Calls, job: S) -> Operation[S]:
        """The job, canceled."""
        return self.state.model_validate((yield from calls.cancel(self.below, job.id)))


OF_GENERATION = Kind(GENERATIONS, Generation, Progress)
OF_TRAINING = Kind(TRAININGS, Training, TrainingProgress)


def succeeded(job: S) -> S:
    """A job that came to what it was for; raises Failed and Canceled."""
    facts: dict[str, Any] = job.model_dump(mode="json")
    if job.status == "canceled":
        raise Canceled(f"{job.id} was canceled", "canceled", facts)
    if job.status == "failed":
        error = job.error
        raise Failed(*((error.message, error.code) if error else (f"{job.id} failed", "unknown")), facts)
    return job


def paths_of(path: str | Path, images: tuple[Image, ...]) -> list[Path]:
    """Where pictures go: to the path, or where they are several to -1, -2, … of it."""
    first = Path(path)
    return [first if len(images) == 1 else first.with_stem(f"{first.stem}-{one.index + 1}") for one in images]
