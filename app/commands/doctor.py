"""`radiata doctor`: whether what a service stands on is sound, one check after the other; nothing is mended unasked.

A check that something is wrong with says what to do. What is only not running, or cannot be asked, is a note.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from secrets import token_hex
from threading import Barrier
from typing import Literal, cast

from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.commands import doctor_machine, doctor_redis
from app.commands.findings import Finding
from app.shared.connection import connect
from app.shared.errors import Deleted, RadiataError, Unreadable
from app.shared.identity import CLAIM, KEY
from app.shared.records import IDENTITY, KINDS
from app.shared.redis_link import WrongServer
from app.shared.settings import BadSettings, Settings, serving_settings
from app.shared.storage import Storage

AT_ONCE = 8  # who create one object at the same moment
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


def examine() -> Iterator[Finding]:
    """Every check in turn; those that need what is not there are left out."""
    try:
        settings = serving_settings()
    except BadSettings as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield Finding("settings", "ok", f"models: {', '.join(settings.models)}")
    yield from doctor_machine.checks(settings)
    try:
        storage = Storage(settings.store_url)
    except (OSError, RadiataError) as error:
        yield Finding("storage", "wrong", f"{settings.store_url}: {error}")
        return
    probed = _storage(storage)
    yield probed
    yield from _redis(settings, storage)
    if probed.status == "ok":
        yield from _records(storage)


def _storage(storage: Storage) -> Finding:
    key, data = f"doctor/{token_hex(16)}", b"whether this comes back"
    try:
        if not storage.create(key, data) or storage.create(key, b"another") or storage.get(key) != data:
            return Finding("storage", "wrong", f"{storage.url} does not give back what it took; is it one store?")
        storage.delete(key)
        if storage.exists(key):
            return Finding("storage", "wrong", f"{storage.url} keeps what was deleted; may this user delete?")
        if (winners := _created_at_once(storage, key)) != 1:
            why = f"{winners} of {AT_ONCE} who created one object at the same moment were told that it is theirs"
            return Finding("storage", "wrong", f"{storage.url}: {why}; take a store with conditional writes")
    except RadiataError as error:
        return Finding("storage", "wrong", error.message)
    return Finding("storage", "ok", f"{storage.url} takes, gives and deletes, and creates for one alone")


def _created_at_once(storage: Storage, key: str) -> int:
    """How many of those who create one object at the same moment are told that it is theirs."""
    ready = Barrier(AT_ONCE)

    def create(number: int) -> bool:
        ready.wait()
        return storage.create(key, str(number).encode())

    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return sum(threads.map(create, range(AT_ONCE)))
    finally:
        storage.delete(key)


def _redis(settings: Settings, storage: Storage) -> Iterator[Finding]:
    away: Literal["note", "wrong"] = "note" if settings.redis_url is None else "wrong"  # `up` need not run
    try:
        with connect(settings) as redis:
            redis.ping()
            yield Finding("redis", "ok", "it answers")
            yield from doctor_redis.checks(redis)
            yield _identity(redis, storage)
    except WrongServer as error:
        yield Finding("redis", "wrong", str(error))
    except BadSettings:
        yield Finding("redis", away, "`radiata up` over this data folder has not run yet")
    except (RedisError, OSError) as error:
        hint = "; is `radiata up` running?" if away == "note" else ""
        yield Finding("redis", away, f"it does not answer: {error}{hint}")


def _identity(redis: Redis, storage: Storage) -> Finding:
    claimed = cast(bytes | None, redis.get(CLAIM))
    try:
        ours = IDENTITY.get(storage, KEY)
    except RadiataError as error:
        return Finding("redis and storage", "wrong", error.message)
    if claimed is None or ours is None:
        return Finding("redis and storage", "note", "no service has claimed this Redis yet")
    if claimed.decode(errors="replace") != ours.id:
        return Finding("redis and storage", "wrong", "this Redis belongs to a service with another store")
    return Finding("redis and storage", "ok", "they belong together")


def _records(storage: Storage) -> Iterator[Finding]:
    read, spoilt = 0, 0
    try:
        for key in storage.keys(""):
            kind = next((kind for kind in KINDS if kind.keys.fullmatch(key)), None)
            if kind is None:
                continue
            try:
                read += kind.get(storage, key) is not None
            except Deleted:
                read += 1
            except Unreadable as error:
                spoilt += 1
                yield Finding("record", "wrong", error.message)
    except RadiataError as error:
        yield Finding("records", "wrong", f"{read} were read, then: {error.message}")
        return
    yield Finding("records", "note" if spoilt else "ok", f"{read} can be read, {spoilt} cannot")


def report(findings: Iterator[Finding], out: Console, as_json: bool) -> bool:
    """Print what was found, as a table or as one line of JSON; say whether nothing is wrong."""
    found = list(findings)
    sound = all(one.status != "wrong" for one in found)
    if as_json:
        out.print(json.dumps({"ok": sound, "checks": [asdict(one) for one in found]}), soft_wrap=True, markup=False)
        return sound
    table = Table("check", "", "what was found", box=None)
    for one in found:
        colour = COLOURS[one.status]
        table.add_row(one.check, f"[{colour}]{one.status}[/{colour}]", escape(one.result))
    out.print(table)
    return sound
