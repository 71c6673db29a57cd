"""What kind each of our keys in Redis is; a key of another kind is deleted, and what it held comes from storage again.

Redis is data: anybody who reaches it can put a text where a list should be, and whoever asks for the list is told no,
again and again. Workers look every few seconds.
"""

from collections.abc import Mapping
from typing import cast

import structlog
from redis import Redis

log = structlog.get_logger()

ALWAYS = {
    "radiata:generations": "zset",
    "radiata:segments": "string",
    "radiata:adapters": "hash",
    "radiata:starred": "set",
    "radiata:metrics": "hash",
    "radiata:impossible": "hash",
    "radiata:missed:generations": "hash",
    "radiata:missed:uploads": "hash",
    "radiata:missed:trainings": "hash",
    "radiata:outgoing:download": "zset",
    "radiata:outgoing:webhook": "zset",
    "radiata:outgoing:start": "zset",
    "radiata:outgoing:keep": "zset",
    "radiata:outgoing:index": "zset",
    "radiata:outgoing:looked": "string",
    "radiata:keeping": "string",
    "radiata:living": "set",
    "radiata:store": "string",
    "radiata:sweep": "string",
    "rq:queues": "set",
    "rq:workers": "set",
}
OF_QUEUE = {
    "rq:queue:{}": "list",
    "rq:queue:{}:intermediate": "list",
    "rq:workers:{}": "set",
    **dict.fromkeys((f"rq:{kind}:{{}}" for kind in ("wip", "failed", "finished", "deferred", "scheduled")), "zset"),
    "rq:canceled:{}": "zset",
    "radiata:turns:{}": "hash",
}
OF_JOB = {
    "radiata:live:{}": "hash",
    "radiata:events:{}": "stream",
    "radiata:upload:{}": "string",
    "rq:executions:{}": "zset",
}
HELD = (  # for a time, or by nobody
    "radiata:rebuilding:radiata:generations",
    "radiata:rebuilding:radiata:adapters",
    "radiata:rebuilding:radiata:starred",
    "radiata:outgoing:looked",
    "radiata:keeping",
)


def mend(redis: Redis, kinds: Mapping[str, str], *names: str) -> None:
    """Delete those of these keys, of each name, that are of another kind; raises RedisError."""
    expected = {key.format(name): kind for key, kind in kinds.items() for name in names or [""]}
    with redis.pipeline(transaction=False) as pipe:
        for key in expected:
            pipe.type(key)
        found = cast(list[bytes], pipe.execute())
    for (key, kind), stands in zip(expected.items(), found, strict=True):
        if stands.decode() not in (kind, "none"):
            log.error("key_of_another_kind", key=key, expected=kind, found=stands.decode())
            redis.delete(key)


def release(redis: Redis) -> None:
    """Delete what is held for a time only, and would be held for ever; raises RedisError."""
    for key in HELD:
        if redis.ttl(key) == -1:
            redis.delete(key)
