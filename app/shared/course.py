"""What a training leaves on its way: the adapter at each checkpoint, which can be published, and notes.

The newest adapters are kept, as many and as large as the settings say, but always the newest one. Samples are kept for
all checkpoints. One worker at a time writes here, an adapter's file before its entry.
"""

from collections.abc import Iterator
from contextlib import suppress
from os import urandom

from app.shared.errors import Newer, NoRoom, Unreadable
from app.shared.records import COURSE
from app.shared.settings import MIB, Settings
from app.shared.storage import Storage
from app.shared.training_keys import adapter_key, course_key, folder_of, room_key
from app.shared.wire.training import Course, CourseStep, Training, TrainingCheckpoint

ROOM = 64 << 10  # bytes: of a request with many samples, and blocks of a disk
NOTES = 100  # of one training


class Courses:
    """Keeps the courses of trainings. Raises Unavailable as storage does."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._most, self._most_bytes = settings.training_keep_adapters, settings.training_keep_mb * MIB

    def get(self, training_id: str) -> Course:
        """The course of a training; empty where none is known, or none that can be read."""
        with suppress(Unreadable):
            return COURSE.get(self._storage, course_key(training_id)) or Course(steps=[])
        return Course(steps=[])

    def saved(
        self, training_id: str, step: int, loss: float | None, adapter: bytes, device_seconds: float | None = None
    ) -> None:
        """Keep the adapter of a checkpoint, and forget those that are over the limits.

        device_seconds: that were spent until then; None where that was known before.
        """
        self._storage.put(adapter_key(training_id, step), adapter)
        course = self.get(training_id)
        now = CourseStep(step=step, loss=loss, size_bytes=len(adapter))
        steps = [*(one for one in course.steps if one.step < step), now]
        kept = self._within_limits(steps)
        told = {} if device_seconds is None else {"trained": step, "device_seconds": device_seconds}
        self._write(training_id, course.model_copy(update={"steps": kept, **told}))
        for one in course.steps:
            if one not in kept and one.step != step:
                self._storage.delete(adapter_key(training_id, one.step))

    def noted(self, training_id: str, note: str) -> None:
        """Keep a sentence about a training, once."""
        course = self.get(training_id)
        if note not in course.notes and len(course.notes) < NOTES:
            self._write(training_id, course.model_copy(update={"notes": [*course.notes, note]}))

    def taken_over(self, before: str, training_id: str, step: int) -> None:
        """Have a training begin with what the one that it goes on with has learned last; step: of its checkpoint."""
        course = self.get(before)
        copied = [
            last
            for last in course.steps[-1:]
            if self._storage.copy(adapter_key(before, last.step), adapter_key(training_id, last.step))
        ]
        self._write(training_id, Course(steps=copied, began=step, trained=step))

    def reserve(self, training_id: str) -> None:
        """Take as much room as the end of a training needs, so that there is some where the disk is full by then."""
        if not self._storage.exists(room_key(training_id)):
            self._storage.put(room_key(training_id), urandom(ROOM))  # a disk that compresses would give zeros none

    def room_made(self, training_id: str) -> Iterator[str]:
        """Delete one file at a time that a training can end without, and yield its key.

        First what was reserved, then adapters and samples, the oldest first.
        """
        self._storage.delete(key := room_key(training_id))
        yield key
        course = self.get(training_id)
        for at, one in enumerate(course.steps, 1):
            self._storage.delete(key := adapter_key(training_id, one.step))
            with suppress(NoRoom):
                self._write(training_id, course.model_copy(update={"steps": course.steps[at:]}))
            yield key
        for key in sorted(self._storage.keys(f"{folder_of(training_id)}/samples")):
            self._storage.delete(key)
            yield key

    def adapter(self, training_id: str, step: int) -> tuple[int, Iterator[bytes]] | None:
        """How large the file of the adapter of a checkpoint is, and its bytes in chunks; None where it is not kept."""
        known = any(one.step == step for one in self.get(training_id).steps)
        return self._storage.stream(adapter_key(training_id, step)) if known else None

    def shown(self, training: Training) -> Training:
        """A training with its checkpoints and notes."""
        course = self.get(training.id)
        checkpoints = [
            TrainingCheckpoint(
                step=one.step, loss=one.loss, samples=[each for each in training.pictures if each.step == one.step]
            )
            for one in course.steps
        ]
        return training.model_copy(update={"checkpoints": checkpoints, "notes": course.notes})

    def _write(self, training_id: str, course: Course) -> None:
        with suppress(Newer):
            COURSE.replaced(self._storage, course_key(training_id))
            self._storage.put(course_key(training_id), COURSE.write(course))

    def _within_limits(self, steps: list[CourseStep]) -> list[CourseStep]:
        """The newest of these that are within the limits, the newest one in any case."""
        kept: list[CourseStep] = []
        room = self._most_bytes
        for one in reversed(steps[-self._most :]):
            room -= one.size_bytes
            if kept and room < 0:
                break
            kept.insert(0, one)
        return kept
