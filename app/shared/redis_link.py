"""Connections to Redis that notice what they are connected to, and pools of them for each form of URL.

A master that fails over may go on answering, as a replica that takes no writes. Such a one is not dead, and no use
either: its connection is closed and counts as lost, so that whoever waits for Redis connects anew, to where the name
points by then, or to the master that the Sentinels name.
"""

from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixDomainSocketConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.asyncio.sentinel import SentinelManagedConnection as AsyncSentinelManagedConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection as AsyncSentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from app.shared.redis_url import NO_CLUSTER, RedisUrl, read_url
from app.shared.settings import BadSettings

SENTINEL_S = 0.5  # for one Sentinel to answer, before the next one is asked
REPLICA = "it is a replica, which takes no writes; its master is waited for"
NO_SENTINEL = "it is a Sentinel: with Sentinels it is written redis+sentinel://host:26379/service"
GREETING = {b"server", b"proto", b"mode"}  # what the answer to HELLO has; of a Redis or Valkey a role, too
UNBLOCKED = "UNBLOCKED"  # said to whoever waits for a job at a master that has just become a replica


class WrongServer(RedisError, BadSettings):
    """What answers there is nothing that this service can work with, however long it is waited for."""


def judged(answer: Any) -> Any:
    """What a server has answered; raises WrongServer, or ConnectionError where it is a replica."""
    if isinstance(answer, dict) and answer.keys() >= GREETING:
        if answer[b"mode"] in WRONG_MODES:
            raise WrongServer(f"RADIATA_REDIS_URL: {WRONG_MODES[answer[b'mode']]}")
        if answer.get(b"role", b"master") != b"master":
            raise RedisConnectionError(REPLICA)
    return answer


def meant(error: ResponseError) -> Exception:
    """What a refusal means: that the server is a replica by now, or a cluster's, or no more than it says."""
    if isinstance(error, ReadOnlyError | MasterDownError) or str(error).startswith(UNBLOCKED):
        return RedisConnectionError(REPLICA)
    if isinstance(error, MovedError | ClusterCrossSlotError | ClusterDownError):
        return WrongServer(f"RADIATA_REDIS_URL: {NO_CLUSTER}")
    return error


WRONG_MODES = {b"cluster": NO_CLUSTER, b"sentinel": NO_SENTINEL}


class _Judging:
    def read_response(self, *args: Any, **named: Any) -> Any:
        try:
            return judged(super().read_response(*args, **named))  # type: ignore[misc]
        except ResponseError as error:
            told = meant(error)
            if told is error:
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise told from error


class _AsyncJudging:
    async def read_response(self, *args: Any, **named: Any) -> Any:
        try:
            return judged(await super().read_response(*args, **named))  # type: ignore[misc]
        except ResponseError as error:
            told = meant(error)
            if told is error:
                raise
            await self.disconnect()  # type: ignore[attr-defined]
            raise told from error


def _made(*bases: type) -> type:
    return type(f"Judging{bases[-1].__name__}", bases, {})


CLASSES = {
    "redis": _made(_Judging, Connection),
    "rediss": _made(_Judging, SSLConnection),
    "unix": _made(_Judging, UnixDomainSocketConnection),
}
ASYNC_CLASSES = {
    "redis": _made(_AsyncJudging, AsyncConnection),
    "rediss": _made(_AsyncJudging, AsyncSSLConnection),
    "unix": _made(_AsyncJudging, AsyncUnixDomainSocketConnection),
}
OF_SENTINELS = {
    "redis": _made(_Judging, SentinelManagedConnection),
    "rediss": _made(_Judging, SentinelManagedSSLConnection),
}
ASYNC_OF_SENTINELS = {
    "redis": _made(_AsyncJudging, AsyncSentinelManagedConnection),
    "rediss": _made(_AsyncJudging, AsyncSentinelManagedSSLConnection),
}


class _SentinelPool(SentinelConnectionPool):
    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


class _AsyncSentinelPool(AsyncSentinelConnectionPool):
    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def client(url: str, **options: Any) -> Redis:
    """A client of the master at a URL; options: of its connections, as redis-py names them."""
    there = read_url(url)
    if not there.sentinels:
        pool = ConnectionPool(connection_class=CLASSES[there.scheme], **there.options | options)
        return Redis.from_pool(pool)
    known = Sentinel(there.sentinels, sentinel_kwargs=_asking(there, Retry(NoBackoff(), 1, (RedisConnectionError,))))
    told = {"connection_class": OF_SENTINELS[there.scheme], **there.options, **options}
    return Redis.from_pool(_SentinelPool(there.service, known, **told))


def async_client(url: str, **options: Any) -> AsyncRedis:
    """As `client`, on an event loop."""
    there = read_url(url)
    if not there.sentinels:
        pool = AsyncConnectionPool(connection_class=ASYNC_CLASSES[there.scheme], **there.options | options)
        return AsyncRedis.from_pool(pool)
    once = AsyncRetry(NoBackoff(), 1, (RedisConnectionError,))
    known = AsyncSentinel(there.sentinels, sentinel_kwargs=_asking(there, once))
    told = {"connection_class": ASYNC_OF_SENTINELS[there.scheme], **there.options, **options}
    return AsyncRedis.from_pool(_AsyncSentinelPool(there.service, known, **told))


def _asking(there: RedisUrl, retry: Retry | AsyncRetry) -> dict[str, Any]:
    """How one Sentinel is asked."""
    return {
        **there.sentinel_options,
        "retry": retry,
        "socket_connect_timeout": SENTINEL_S,
        "socket_timeout": SENTINEL_S,
    }
