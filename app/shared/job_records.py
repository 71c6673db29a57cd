"""What storage knows of a job: one record from its acceptance on, and one from its end on.

A record that cannot be read is restored from Redis's copy, where that still has one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from app.shared.errors import Newer, Unreadable
from app.shared.records import Kind
from app.shared.storage import Storage

log = structlog.get_logger()


class JobStatus(Protocol):
    """Where a job is in its life; also a text."""

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        ...


class Job(Protocol):
    """What the life cycle asks of a record."""

    @property
    def id(self) -> str:
        """32 hex digits."""
        ...

    @property
    def owner(self) -> str:
        """Whose it is."""
        ...

    @property
    def status(self) -> JobStatus:
        """Where it is in its life."""
        ...


R = TypeVar("R", bound=Job)


@dataclass(frozen=True)
class Places(Generic[R]):
    """The two records of one kind of job, and the storage keys of a job's own."""

    name: str  # of the kind, in Redis keys
    folder: str  # where the pending records are
    pending: Kind[R]
    pending_key: Callable[[str], str]
    ended: Kind[R]
    ended_key: Callable[[str], str]


class JobRecords(Generic[R]):
    """Reads the records of one kind of job.

    copies: Redis's copies of a job's records, by the names `accepted` and `final`, as far as it has them and answers.
    """

    def __init__(self, places: Places[R], storage: Storage, copies: Callable[[str], Mapping[str, str]]) -> None:
        self._places = places
        self._storage = storage
        self._copies = copies

    def waiting(self) -> Iterator[str]:
        """Ids of all that was accepted and has not ended, in no order."""
        return self._places.pending.ids(self._storage, self._places.folder)

    def pending(self, job_id: str) -> R | None:
        """What was accepted and has not ended, or None; raises Unreadable."""
        return self._read(self._places.pending, self._places.pending_key(job_id), job_id, "accepted")

    def ended(self, job_id: str) -> R | None:
        """What has ended, or None; raises Unreadable."""
        return self._read(self._places.ended, self._places.ended_key(job_id), job_id, "final")

    def either(self, job_id: str) -> R | None:
        """The first of the two that there is and can be read, or None; raises Unreadable when none can."""
        try:
            # The end is asked for last: it exists before the pending record goes, so one of them is always found
            return self.pending(job_id) or self.ended(job_id)
        except Unreadable:
            if ended := self.ended(job_id):
                return ended
            raise

    def copy(self, copies: Mapping[str, str], which: str, job_id: str) -> R | None:
        """Redis's copy of a record, or None when it has none that is whole."""
        try:
            text = copies.get(which)
            return None if text is None else self._places.pending.read(self._places.pending_key(job_id), text)
        except Unreadable:
            return None

    def _read(self, kind: Kind[R], key: str, job_id: str, copied_as: str) -> R | None:
        try:
            return kind.get(self._storage, key)
        except Newer:
            raise
        except Unreadable as error:
            copy = self.copy(self._copies(job_id), copied_as, job_id)
            if copy is None:
                raise
            log.warning("record_restored", key=key, why=error.why)
            self._storage.put(key, kind.write(copy))
            return copy
