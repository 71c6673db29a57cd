"""Where Redis answers, and how long each kind of process waits for it.

The API is in a hurry: what Redis does not tell it within a second it asks of storage, or refuses with a 503. A worker
is patient: what it has begun waits until Redis is back, and its time limit with it. Neither ever pauses for more than a
second between two looks.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import structlog
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from app.shared import alarm
from app.shared.at_once import about_to_wait
from app.shared.redis_link import async_client, client
from app.shared.settings import BadSettings, Settings

log = structlog.get_logger()

T = TypeVar("T")
AWAY = (RedisConnectionError, RedisTimeoutError)
ANSWER_S = 1.2  # a Redis that takes longer is away, as far as somebody who waits for an HTTP answer is concerned
SHUT_S = 1.0  # for so long after that nobody else waits for it
LONGEST_PAUSE_S = 1.0
LISTEN_S = 5.0  # an event is waited for at Redis, two seconds at a time
URL_FILE = "url"
NO_EVICTION = "noeviction"


class Shutter:
    """After Redis has failed, everybody who is in a hurry is told no for a second; a process has one."""

    def __init__(self) -> None:
        self._until = 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Raise at once where it is shut; a failure within shuts it."""
        if time.monotonic() < self._until:
            raise RedisConnectionError("it did not answer a moment ago")
        try:
            yield
        except AWAY:
            self._until = time.monotonic() + SHUT_S
            raise


class Hurry(Retry):
    """Tries again once, where a kept connection had died; after a failure, everybody is told no for a second."""

    def __init__(self, shutter: Shutter) -> None:
        super().__init__(NoBackoff(), 1, (RedisConnectionError,))
        self._shutter = shutter

    def __deepcopy__(self, _memo: Any) -> "Hurry":
        return self  # redis-py gives every connection a copy; what one has found out is meant for all

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Run `do`; raises at once for a second after it has failed."""
        about_to_wait()
        with self._shutter.open():
            return super().call_with_retry(do, fail, is_retryable, with_failure_count)


class AsyncHurry(AsyncRetry):
    """As `Hurry`, on an event loop."""

    def __init__(self, shutter: Shutter) -> None:
        super().__init__(NoBackoff(), 1, (RedisConnectionError,))
        self._shutter = shutter

    def __deepcopy__(self, _memo: Any) -> "AsyncHurry":
        return self

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Run `do`; raises at once for a second after it has failed."""
        with self._shutter.open():
            return await super().call_with_retry(do, fail, is_retryable, with_failure_count)


class Patience(Retry):
    """Tries again until `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(ExponentialBackoff(cap=LONGEST_PAUSE_S, base=0.05), -1, AWAY)
        self.seconds = seconds

    def __deepcopy__(self, _memo: Any) -> "Patience":
        return self  # so that a worker that is told to stop can end the patience of all its connections

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Run `do` until it succeeds or patience is over; the time limit of a job stands meanwhile."""
        since = time.monotonic()
        failures = 0
        with ExitStack() as waiting:
            while True:
                try:
                    return do()
                except AWAY as error:
                    if time.monotonic() - since >= self.seconds or (is_retryable and not is_retryable(error)):
                        raise
                    failures += 1
                    if failures == 1:
                        waiting.enter_context(alarm.standing())
                        log.warning("redis_away", error=str(error), patience_s=self.seconds)
                    fail(error, failures) if with_failure_count else fail(error)
                    time.sleep(min(LONGEST_PAUSE_S, self._backoff.compute(failures)))


def redis_url(settings: Settings) -> str:
    """Where Redis answers: as set, else where the server of `radiata up` over the same data folder does.

    Raises BadSettings where neither is known.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    file = url_file(settings)
    if not file.exists():
        raise BadSettings(
            "RADIATA_REDIS_URL: there is none; set it, or use `radiata up`, which starts a Redis and says where in "
            f"{file}"
        )
    return file.read_text().strip()


def url_file(settings: Settings) -> Path:
    """Where the server of `radiata up` says where it answers, for other processes of the same user."""
    return settings.data_dir.resolve() / "valkey" / URL_FILE


def connect(settings: Settings, *, patient: bool = False, shutter: Shutter | None = None) -> Redis:
    """A Redis client; a `patient` one (workers) waits for a server that is away, others a second.

    shutter: shared with other clients, so that what one has found out is known to all. Raises BadSettings when no URL
    is known.
    """
    if patient:
        waits = Patience(settings.storage_patience_s)
        return client(redis_url(settings), socket_connect_timeout=2, socket_timeout=10, retry=waits)
    retry = Hurry(shutter or Shutter())
    return client(redis_url(settings), socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S, retry=retry)


def connect_async(settings: Settings, shutter: Shutter | None = None) -> AsyncRedis:
    """A client for listeners, who wait for what happens; with a shutter, for those who are in a hurry.

    Raises BadSettings when no URL is known.
    """
    if shutter:
        hurry = AsyncHurry(shutter)
        return async_client(redis_url(settings), socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S, retry=hurry)
    retry = AsyncRetry(NoBackoff(), 1, (RedisConnectionError,))
    return async_client(redis_url(settings), socket_connect_timeout=ANSWER_S, socket_timeout=LISTEN_S, retry=retry)


def run_short_of_patience(redis: Redis) -> None:
    """Let a patient client's calls fail soon from now on: its process is about to end."""
    retry = redis.get_retry()
    if isinstance(retry, Patience):
        retry.seconds = LONGEST_PAUSE_S


def eviction_policy(redis: Redis) -> str | None:
    """What Redis drops where its memory is full, if anything, or None where it does not say."""
    try:
        answer = cast(dict[str, str], redis.config_get("maxmemory-policy"))
    except RedisError:
        return None  # a user that may not ask, or a service that hides it
    return answer.get("maxmemory-policy")


def warn_of_eviction(redis: Redis) -> None:
    """Say in the log that Redis may drop what waits: nothing is lost, but it is queued and listed again and again."""
    policy = eviction_policy(redis)
    if policy not in (None, NO_EVICTION):
        log.warning("redis_evicts", policy=policy, advice=f"set maxmemory-policy {NO_EVICTION}: it holds queues")
