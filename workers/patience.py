"""Waiting inside a job for storage, or a hub, that is away: it costs the job time, and no try.

A job that begins `with patience.during()` waits, in its own thread, whenever storage does not answer, and goes on where
it was. Its clock, RQ's alarm, stands meanwhile. Other threads, as that of prefetch, are told at once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import get_ident
from typing import Any, ParamSpec, TypeVar

import structlog

from app.shared import alarm
from app.shared.errors import NoRoom, Unavailable
from app.shared.storage import Storage

log = structlog.get_logger()

PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # before each other look; the last for ever

P = ParamSpec("P")
T = TypeVar("T")


def _nothing() -> None:
    pass


class Patience:
    """How long one job waits, in all."""

    def __init__(self, most_s: float) -> None:
        self._most_s = self._left_s = most_s
        self._thread: int | None = None
        self._look: Callable[[], None] = _nothing

    @contextmanager
    def during(self, look: Callable[[], None] = _nothing) -> Iterator[None]:
        """Let what this thread asks of storage wait; `look` is called at every look, and may raise to end it."""
        self._left_s, self._look, self._thread = self._most_s, look, get_ident()
        try:
            yield
        finally:
            self._thread = None

    def waits(self, ask: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `ask` answers, as soon as it does; raises Unavailable, with how long that was, when patience ends."""
        try:
            return ask(*args, **named)
        except Unavailable as error:
            if self._thread != get_ident():
                raise
            log.warning(error.code, error=error.message)
            away = error
        with alarm.standing():
            for pause_s in _pauses():
                if self._left_s <= 0:
                    kind = NoRoom if isinstance(away, NoRoom) else Unavailable
                    raise kind(
                        away.code,
                        f"{away.message} (for longer than RADIATA_STORAGE_PATIENCE_S, {self._most_s:g} s, allows)",
                    ) from away
                begun = time.monotonic()
                time.sleep(min(pause_s, self._left_s))
                try:
                    self._look()
                    return ask(*args, **named)
                except Unavailable as error:
                    away = error
                finally:
                    self._left_s -= time.monotonic() - begun
        raise AssertionError("pauses do not end")


class PatientStorage(Storage):
    """A storage of which a job asks with patience by the verbs below; `stream` and those in `_async` have none."""

    def __init__(self, storage: Storage, patience: Patience) -> None:
        self.url = storage.url
        self._inner = storage
        self._patience = patience

    def put(self, key: str, data: bytes | Path) -> None:
        """Write `data` under `key`, replacing what was there."""
        self._patience.waits(self._inner.put, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` unless something else is there; say whether it was written."""
        return self._patience.waits(self._inner.create, key, data)

    def copy(self, source: str, key: str) -> bool:
        """Have the bytes of one object under a second key as well; False without a source."""
        return self._patience.waits(self._inner.copy, source, key)

    def take(self, key: str, file: Path) -> str | None:
        """Have a file of this machine under `key`; say how, or None for a store elsewhere."""
        return self._patience.waits(self._inner.take, key, file)

    def flush(self, key: str) -> None:
        """Make sure that what was read under `key` outlives a power cut."""
        self._patience.waits(self._inner.flush, key)

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        return self._patience.waits(self._inner.get, key)

    def size(self, key: str) -> int | None:
        """How many bytes are under `key`, or None."""
        return self._patience.waits(self._inner.size, key)

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when it is not there."""
        self._patience.waits(self._inner.delete, key)

    def entries(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Every key below `prefix` and when it was written, in no order."""
        return iter(self._patience.waits(lambda: list(self._inner.entries(prefix))))

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below `prefix`, in no order."""
        return iter(self._patience.waits(lambda: list(self._inner.keys(prefix))))

    def __getattr__(self, name: str) -> Any:
        """Whatever else a storage can do, as it does it."""
        return getattr(self._inner, name)


def _pauses() -> Iterator[float]:
    yield from PAUSES_S
    while True:
        yield PAUSES_S[-1]
