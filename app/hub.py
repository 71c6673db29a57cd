"""One reader of events for all listeners of a process.

Whoever publishes an event says so on one channel. The hub hears it there, reads what is new in the streams that are
followed, all in one round trip, and keeps the newest of each for its listeners. So a thousand listeners cost two
connections and one reading of each stream, on one generation as on a thousand, and a listener is no more than a place
in a stream. What the channel loses, a look every few seconds finds; what Redis loses, storage tells.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from app.shared.errors import RadiataError
from app.shared.events import CHANGED, START, Event, Position, event_of, position, stream_id, stream_key
from app.shared.lifecycle import live_key
from app.shared.wire.generation import Generation, Status
from app.shared.wire.training import Training

log = structlog.get_logger()

EVENTS_KEPT = 512  # events of one generation in memory; who lags further behind reads Redis for itself
PAGE = 256  # entries of a stream, and streams, in one round trip
TOGETHER_S = 0.02  # between two readings: what happens meanwhile is read at once
LOOK_S = 2.0  # between two looks at everything that is followed
AGAIN_S = 1.0  # after Redis failed
KEEP_ALIVE_S = 15.0
ALIVE = (Status.QUEUED.value.encode(), Status.RUNNING.value.encode())

Entries = list[tuple[bytes, dict[bytes, bytes]]]  # of a stream, as redis-py gives them


@dataclass
class Tail:
    """The newest events of one generation, shared by its listeners."""

    generation_id: str
    end: Event | None = None  # found in storage, where the stream does not have it
    start: Position = START  # `events` holds everything from here to `last`
    last: Position = START
    events: deque[Event] = field(default_factory=deque[Event])
    caught_up: bool = False  # whether there was a reading to the end, or none is possible now
    quiet: bool = False  # whether nothing came since the last look
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, entries: Entries) -> None:
        """Keep what was read after `last`."""
        events, self.last = _events(entries, self.last)
        self.events.extend(events)
        while len(self.events) > EVENTS_KEPT:
            self.start = self.events.popleft().position or self.start
        self.quiet = self.quiet and not entries

    def since(self, after: Position) -> list[Event]:
        """The kept events after a place."""
        newer: list[Event] = []
        for event in reversed(self.events):
            if event.position is None or event.position <= after:
                break
            newer.append(event)
        return newer[::-1]

    def wake(self) -> None:
        """Wake every listener; each took `changed` before it looked."""
        self.changed.set()
        self.changed = asyncio.Event()


class Hub:
    """Follows jobs, and waits for uploads, for everybody in this process; reads only while somebody does.

    end_in_storage: how a generation or a training ended, or None; called in a thread, may raise RadiataError.
    """

    def __init__(self, redis: AsyncRedis, end_in_storage: Callable[[str], Generation | Training | None]) -> None:
        self._redis = redis
        self._end_in_storage = end_in_storage
        self._tails: dict[str, Tail] = {}
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._unread: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self._over = asyncio.Event()

    async def follow(
        self, generation_id: str, after: Position = START, end: Event | None = None
    ) -> AsyncGenerator[list[Event]]:
        """Events after a place as they come, the end last; an empty list whenever `KEEP_ALIVE_S` pass without one.

        It stops early when the hub does: a client then asks again, with the position of the last event it has.

        end: how the generation ended, where that is known already; it follows what the stream still has.
        """
        with self._followed(generation_id) as tail:
            tail.end = tail.end or end
            while not self._over.is_set():
                changed = tail.changed  # before looking: nothing falls between
                if after >= tail.start:
                    events, reached = tail.since(after), max(after, tail.last)
                else:
                    events, reached = await self._page(tail, after)
                ends = [place for place, event in enumerate(events) if event.is_end]
                if events:
                    yield events[: ends[0] + 1] if ends else events  # a straggler may report after the end
                if ends:
                    return
                if reached > after:
                    after = reached
                elif tail.end and tail.caught_up:
                    yield [tail.end]
                    return
                elif not await within(changed, KEEP_ALIVE_S):
                    yield []

    @contextmanager
    def watching(self, what: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something of a generation or an upload was published, or may have been."""
        published = asyncio.Event()
        self._watched.setdefault(what, set()).add(published)
        self._run()
        try:
            yield published
        finally:
            self._watched[what].discard(published)
            if not self._watched[what]:
                del self._watched[what]

    def stop(self) -> None:
        """End every wait: the server is about to stop."""
        self._over.set()
        self._wake_watchers()
        for tail in self._tails.values():
            tail.wake()

    @property
    def stopping(self) -> bool:
        """Tell whether nobody is to wait any more."""
        return self._over.is_set()

    async def stopped(self) -> None:
        """Wait until nobody is to wait any more."""
        await self._over.wait()

    async def aclose(self) -> None:
        """Stop reading."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # Following

    @contextmanager
    def _followed(self, generation_id: str) -> Iterator[Tail]:
        tail = self._tails.setdefault(generation_id, Tail(generation_id))
        tail.listeners += 1
        self._run()
        self._read_soon([generation_id])
        try:
            yield tail
        finally:
            tail.listeners -= 1
            if not tail.listeners:
                del self._tails[generation_id]

    async def _page(self, tail: Tail, after: Position) -> tuple[list[Event], Position]:
        """Events before the kept ones, for a listener that lags behind."""
        with suppress(RedisError):
            found = await self._redis.xrange(stream_key(tail.generation_id), f"({stream_id(after)}", count=PAGE)
            entries = cast(Entries, found)
            events, reached = _events(entries, after)
            return events, reached if len(entries) == PAGE else max(reached, tail.start)
        return [], after

    def _read_soon(self, generations: Iterable[str]) -> None:
        self._unread.update(generations)
        self._wake.set()

    # Reading

    def _run(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        """Read while somebody listens; Redis may go and come, and what nobody foresaw ends one try, not the reader."""
        try:
            while self._tails or self._watched:
                try:
                    async with asyncio.TaskGroup() as parts:
                        tasks = [parts.create_task(part) for part in (self._hear(), self._read())]
                        while self._tails or self._watched:
                            await asyncio.sleep(LOOK_S)
                            await self._look()
                            self._back()
                        for task in tasks:
                            task.cancel()
                except* Exception as errors:  # noqa: BLE001
                    await self._ride_out(errors.exceptions[0])
        finally:
            self._task = None

    async def _hear(self) -> None:
        """Take in whose streams have something new."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(CHANGED)
            self._read_all()
            while not _canceled():
                message = await channel.get_message(timeout=LOOK_S)
                if message is None:
                    continue
                what = message["data"].decode(errors="replace")
                for published in self._watched.get(what, ()):
                    published.set()
                if what in self._tails:
                    self._read_soon([what])

    def _read_all(self) -> None:
        """Look everywhere: something may have been published while nobody listened."""
        self._read_soon(self._tails)
        self._wake_watchers()

    def _wake_watchers(self) -> None:
        for published in [one for waiters in self._watched.values() for one in waiters]:
            published.set()

    async def _read(self) -> None:
        """Read what is new, of many streams at once."""
        while not _canceled():
            await self._wake.wait()
            self._wake.clear()
            some = [self._unread.pop() for _ in range(min(PAGE, len(self._unread)))]
            tails = [tail for one in some if (tail := self._tails.get(one))]
            async with self._redis.pipeline(transaction=False) as pipe:
                for tail in tails:
                    pipe.xrange(stream_key(tail.generation_id), f"({stream_id(tail.last)}", count=PAGE)
                answers = await pipe.execute(raise_on_error=False)  # a key that is no stream is nobody else's trouble
            for tail, answer in zip(tails, answers, strict=True):
                entries = answer if isinstance(answer, list) else []
                tail.take(entries)
                tail.caught_up = tail.caught_up or len(entries) < PAGE
                if len(entries) == PAGE:
                    self._read_soon([tail.generation_id])
                if entries or tail.end:
                    tail.wake()
            if self._unread:
                self._wake.set()
            await asyncio.sleep(TOGETHER_S)

    async def _look(self) -> None:
        """Read every stream, and find ends that came with no event."""
        quiet = [tail for tail in self._tails.values() if tail.quiet and not tail.end]
        for tail in self._tails.values():
            tail.quiet = True
        self._read_all()
        for first in range(0, len(quiet), PAGE):
            some = quiet[first : first + PAGE]
            async with self._redis.pipeline(transaction=False) as pipe:
                for tail in some:
                    pipe.hget(live_key(tail.generation_id), "status")
                answers = await pipe.execute(raise_on_error=False)
            await self._ask_storage(tail for tail, status in zip(some, answers, strict=True) if status not in ALIVE)

    async def _ask_storage(self, tails: Iterable[Tail]) -> None:
        unforeseen: Exception | None = None
        for tail in tails:
            try:
                ended = await run_in_threadpool(self._end_in_storage, tail.generation_id)
            except (RadiataError, ValueError):  # away, or unreadable: later, or never
                continue
            except Exception as error:  # noqa: BLE001 (one generation's, and no other's trouble)
                unforeseen = error
                continue
            if ended:
                tail.end, tail.caught_up = end_of(ended), False  # what else there is comes first
                self._read_soon([tail.generation_id])
        if unforeseen:
            raise unforeseen

    async def _ride_out(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            trace = None if isinstance(error, RedisError) else error
            reason = f"{type(error).__name__}: {error}"
            log.warning("events_interrupted", error=reason, listeners=len(self._tails), exc_info=trace)
        self._wake_watchers()
        with suppress(Exception):  # logged after the next look, unless it is what was just logged
            await self._ask_storage([tail for tail in self._tails.values() if not tail.end])
        for tail in self._tails.values():
            tail.caught_up = True
            tail.wake()
        await asyncio.sleep(AGAIN_S)

    def _back(self) -> None:
        if self._away:
            self._away = False
            log.info("events_resumed")


def end_of(job: Generation | Training) -> Event | None:
    """The event that tells how a generation or a training ended, or None while it has not."""
    if not job.status.ended:
        return None
    return Event("status", {"status": job.status, "error": job.error.model_dump() if job.error else None})


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Tell whether an event came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


def _canceled() -> bool:
    """Tell whether this task was canceled; one that comes in mid-call may end within redis-py."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _events(entries: Entries, after: Position) -> tuple[list[Event], Position]:
    """The events among entries of a stream, and how far they reach; what is none of ours is passed over."""
    events: list[Event] = []
    for name, fields in entries:
        after = position(name.decode()) or after
        if event := event_of(after, fields):
            events.append(event)
    return events, after
