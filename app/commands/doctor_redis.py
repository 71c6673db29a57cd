"""What `radiata doctor` asks of Redis: its version, what it keeps and drops, its clock, and what our user may do."""

import time
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, cast

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from app.commands.findings import Finding
from app.shared.connection import NO_EVICTION, eviction_policy
from app.shared.events import CHANGED

OLDEST = (6, 2)  # LMOVE, which RQ's queues are made of
CLOCKS_S = 5.0
TRIED_S = 60
# Of each kind what the service does; KEY is a key of ours, and of RQ's
RIGHTS: tuple[tuple[str, ...], ...] = (
    ("SET", "KEY", "1", "EX", str(TRIED_S)),
    ("HSET", "KEY:h", "a", "1"),
    ("RPUSH", "KEY:l", "a"),
    ("LMOVE", "KEY:l", "KEY:l", "LEFT", "RIGHT"),
    ("SADD", "KEY:s", "a"),
    ("ZADD", "KEY:z", "1", "a"),
    ("XADD", "KEY:x", "*", "a", "1"),
    ("EXPIRE", "KEY:x", str(TRIED_S)),
    ("EVAL", "return redis.call('GET', KEYS[1])", "1", "KEY"),
    ("DEL", "KEY", "KEY:h", "KEY:l", "KEY:s", "KEY:z", "KEY:x"),
)


def checks(redis: Redis) -> Iterator[Finding]:
    """Every check in turn; raises RedisError where it falls silent meanwhile."""
    yield _version(redis)
    yield _persistence(redis)
    yield _eviction(redis)
    yield _rights(redis)
    yield _clock(redis)


def _info(redis: Redis, section: str) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], redis.info(section))
    except NoPermissionError:
        return {}


def _version(redis: Redis) -> Finding:
    said = _info(redis, "server")
    version = str(said.get("valkey_version") or said.get("redis_version") or "")
    if not version:
        return Finding("redis version", "note", f"it does not say; at least {'.'.join(map(str, OLDEST))} is needed")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST:
        return Finding("redis version", "wrong", f"{version} is too old: take Redis 6.2, Valkey, or later")
    return Finding("redis version", "ok", f"{said.get('server_name', 'redis')} {version}")


def _persistence(redis: Redis) -> Finding:
    said = _info(redis, "persistence")
    if not said:
        return Finding("redis on disk", "note", "it does not say what it keeps")
    if said.get("aof_enabled"):
        failed = said.get("aof_last_write_status", "ok") != "ok"
        why = "its append-only file cannot be written: is its disk full?" if failed else "append-only file"
        return Finding("redis on disk", "wrong" if failed else "ok", why)
    advice = "nothing accepted is lost then, but it is brought back from storage; set `appendonly yes`"
    return Finding("redis on disk", "note", f"it may be empty after a restart: {advice}")


def _eviction(redis: Redis) -> Finding:
    policy = eviction_policy(redis)
    if policy is None:
        return Finding("redis memory", "note", "it does not say what it drops when it is full")
    if policy != NO_EVICTION:
        return Finding("redis memory", "wrong", f"it drops keys when it is full: set maxmemory-policy {NO_EVICTION}")
    return Finding("redis memory", "ok", "it drops nothing when it is full")


def _rights(redis: Redis) -> Finding:
    refused = set[str]()
    for prefix in ("radiata:", "rq:"):
        key = f"{prefix}doctor:{token_hex(8)}"
        for words in RIGHTS:
            _try(redis, [word.replace("KEY", key) if "KEYS" not in word else word for word in words], prefix, refused)
    _try(redis, ["PUBLISH", CHANGED, "doctor"], CHANGED, refused)
    _try(redis, ["INFO", "server"], "", refused)
    if refused:
        why = "this user may not " + ", ".join(sorted(refused))
        return Finding("redis rights", "wrong", f"{why}: give it the rights that docker-compose.yml gives")
    return Finding("redis rights", "ok", "this user may do what the service does")


def _try(redis: Redis, command: list[str], where: str, refused: set[str]) -> None:
    try:
        redis.execute_command(*command)
    except NoPermissionError:
        refused.add(f"{command[0]} on {where}*" if where else command[0])
    except RedisError as error:
        if "no such" not in str(error):
            raise


def _clock(redis: Redis) -> Finding:
    try:
        seconds, micros = cast(tuple[int, int], redis.time())
    except NoPermissionError:
        return Finding("clocks", "wrong", "this user may not ask Redis for the time, by which workers choose")
    apart = abs(time.time() - (seconds + micros / 1e6))
    if apart > CLOCKS_S:
        return Finding("clocks", "wrong", f"those of Redis and this machine are {apart:.0f} s apart: set both by NTP")
    return Finding("clocks", "ok", "those of Redis and this machine agree")
