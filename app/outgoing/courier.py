"""What is due is done, in threads of this process: some tasks of each kind at once, each by one process alone,
and owners in turn.

A process that dies holds its tasks for a moment longer (`HELD_S` in `app/shared/outgoing.py`); then another does them,
or itself once it is started again. What an emptied Redis has forgotten is found in storage, by a look now and then.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from secrets import token_hex
from threading import Event, Lock, Thread
from typing import Protocol

import structlog
from redis.exceptions import RedisError

from app.outgoing.shares import WINDOW, Shares
from app.shared.errors import RadiataError, Unreadable
from app.shared.outgoing import Outgoing

log = structlog.get_logger()

LOOK_S = 1.0
RESTORE_S = 60.0  # between two looks into storage, of all processes
AGAIN_S = 10.0  # after something of ours was away
JOIN_S = 2.0  # for which the end of this process waits for its threads


class Stopped(Exception):
    """This process ends: what is begun is left to the next."""


class Handler(Protocol):
    """What does the tasks of one kind."""

    most: int  # at once
    share: int  # at once of one owner

    def owner(self, task_id: str) -> str:
        """Whose a task is; empty where nobody can tell."""
        ...

    def pending(self) -> Iterable[str]:
        """Ids of all that is to be done, as storage has it."""
        ...

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Do a task; seconds after which it is done again, or None. `look` is to be called often, and may raise."""
        ...


class Courier:
    """Looks for what is due, and does it."""

    def __init__(self, outgoing: Outgoing, handlers: Mapping[str, Handler]) -> None:
        self._outgoing, self._handlers = outgoing, handlers
        self._shares = {kind: Shares(handler.owner, handler.share) for kind, handler in handlers.items()}
        self._from = dict.fromkeys(handlers, 0)  # where in what is due the next look begins
        self._who = token_hex(8)
        self._running: set[str] = set()
        self._threads: set[Thread] = set()
        self._lock, self._wake, self._stopping = Lock(), Event(), Event()
        self._restored = -RESTORE_S
        self._told = False

    def start(self) -> None:
        """Look every second from now on."""
        self._begin("courier", self.watch)

    def wake(self) -> None:
        """Look now: something is due."""
        self._wake.set()

    def stop(self) -> None:
        """Take nothing up any more, have what is being done end at its next sign of life, and wait for it a moment."""
        self.stop_taking()
        until = time.monotonic() + JOIN_S
        with self._lock:
            threads = list(self._threads)
        for one in threads:
            one.join(max(0.0, until - time.monotonic()))

    def stop_taking(self) -> None:
        """As `stop`, and wait for nothing."""
        self._stopping.set()
        self._wake.set()

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = Thread(target=run, daemon=True, name=name)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def watch(self) -> None:
        """Look every second until it is stopped, whatever fails."""
        while not self._stopping.is_set():
            try:
                self.look(lambda task: self._begin(task, partial(self.do, task)))
                self._told = False
            except (RedisError, RadiataError) as error:
                if not self._told:
                    log.warning("outgoing_waits", error=str(error))
                self._told = True
            except Exception:  # whatever it was: this thread alone does what is due
                log.exception("outgoing_failed")
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def look(self, begin: Callable[[str], None]) -> None:
        """Begin what is due and nobody does; raises RedisError and RadiataError."""
        with self._lock:
            running = set(self._running)
        for task in running:
            self._outgoing.keep(task, self._who)
        now = time.monotonic()
        if now - self._restored >= RESTORE_S:
            self._restored = now
            if self._outgoing.looks(int(RESTORE_S) - 5):
                self._restore()
        for kind, handler in self._handlers.items():
            mine = [one.removeprefix(f"{kind}:") for one in running if one.startswith(f"{kind}:")]
            for task_id in self._next(kind, mine, handler.most - len(mine)):
                task = f"{kind}:{task_id}"
                if self._outgoing.take(task, self._who):
                    with self._lock:
                        self._running.add(task)
                    begin(task)

    def _next(self, kind: str, mine: list[str], room: int) -> list[str]:
        """Ids of the tasks of a kind that are begun now, so many at most; mine: those that are being done here."""
        if room <= 0:
            return []
        due = self._outgoing.due(kind, WINDOW, self._from[kind])
        chosen = self._shares[kind].choose([one for one in due if one not in mine], mine, room)
        # One owner may have more than is looked at once: who comes behind them is found by the next look
        behind = self._from[kind] + WINDOW - len(chosen)
        self._from[kind] = behind if len(due) == WINDOW and len(chosen) < room else 0
        return chosen

    def _restore(self) -> None:
        """Have all that storage knows of done that Redis does not; one kind that cannot be read hinders no other."""
        for kind, handler in self._handlers.items():
            try:
                self._outgoing.restore(f"{kind}:{one}" for one in handler.pending())
            except RedisError:
                raise
            except RadiataError as error:
                log.warning("outgoing_waits", kind=kind, error=error.message)
            except Exception:
                log.exception("outgoing_failed", kind=kind)

    def do(self, task: str) -> None:
        """Do one task, and say when it is due again."""
        kind, _, task_id = task.partition(":")
        again: float | None = AGAIN_S
        try:
            again = self._handlers[kind].run(task_id, self._look)
        except Stopped:
            again = 0.0
        except Unreadable as error:  # it is found again by the next look into storage, should anybody mend it
            again = None
            log.error("record_unreadable", key=error.key, error=error.message)
        except (RedisError, RadiataError) as error:
            log.warning("outgoing_waits", task=task, error=str(error))
        except Exception:
            log.exception("outgoing_failed", task=task)
        finally:
            try:
                self._outgoing.done(task, self._who, again)
            except (RedisError, RadiataError) as error:  # it is due again as soon as it is held no more
                log.info("outgoing_waits", task=task, error=str(error))
            finally:
                with self._lock:
                    self._running.discard(task)

    def _look(self) -> None:
        if self._stopping.is_set():
            raise Stopped
