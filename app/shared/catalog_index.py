"""The adapters' index: a copy in Redis of the records of all names, one key that says itself whether it is whole.

| Redis key | type | field | what | kept for |
|---|---|---|---|---|
| `radiata:adapters` | hash | `version <name>:<version>` | its record, where it can be read | rebuilt when gone |
| | | `newest <name>` | number of its newest version | |
| | | `bytes <sha256>` | `<name>:<version> …` with these bytes | |
| | | `whole`, `token` | 1: all of storage is in here; who is filling it | |

`<name>` is `<name>@<owner>` where the owner is not the first.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError

from app.shared import rebuild
from app.shared.owners import namespace
from app.shared.records import VERSION
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.values import NAME_PATTERN

INDEX = "radiata:adapters"
HOLDER = re.compile(rf"(?:{NAME_PATTERN})(?:@[a-z0-9-]+)?:[0-9]{{1,15}}".replace("^", "").replace("$", ""))

# All of them: KEYS: the index.
# ARGV: token or nothing, name, version, and sha256 and record of one that can be read. Answers 0 where the index was
# lost, or something deleted, since the token was put in.
ADD = """
local name, version, bytes, record = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
if (tonumber(redis.call('HGET', KEYS[1], 'newest ' .. name) or 0) or 0) < tonumber(version) then
    redis.call('HSET', KEYS[1], 'newest ' .. name, version)
end
if not record then return 1 end
redis.call('HSET', KEYS[1], 'version ' .. name .. ':' .. version, record)
local holder, holders = name .. ':' .. version, redis.call('HGET', KEYS[1], 'bytes ' .. bytes)
for other in string.gmatch(holders or '', '%S+') do
    if other == holder then return 1 end
end
redis.call('HSET', KEYS[1], 'bytes ' .. bytes, holders and holders .. ' ' .. holder or holder)
return 1
"""
# ARGV: name, versions. Takes out the token too: whoever fills the index meanwhile has read what is no longer so.
# Holders of bytes stay, and are found to be gone by whoever asks for them.
DROP = """
redis.call('HDEL', KEYS[1], 'token', 'newest ' .. ARGV[1])
for at = 2, #ARGV do redis.call('HDEL', KEYS[1], 'version ' .. ARGV[1] .. ':' .. ARGV[at]) end
"""
# ARGV: token. Empties the index and begins to fill it.
BEGIN = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[1])
"""
# ARGV: token. Answers 1, or 0 where the index was lost, or something deleted, since it was put in.
CLOSE = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], 'whole', 1)
return 1
"""
# ARGV: what is asked for (`name`, `version`, `bytes`, or `newest` of every name), and which. Answers nil where the
# index is not whole, else `<name>:<version>` and its record, or an empty text, in turn.
FIND_IN = """
local function find(index, kind, what)
    if redis.call('HGET', index, 'whole') ~= '1' then return nil end
    local holders, found = {}, {}
    if kind == 'version' then
        holders[1] = what
    elseif kind == 'bytes' then
        for holder in string.gmatch(redis.call('HGET', index, 'bytes ' .. what) or '', '%S+') do
            holders[#holders + 1] = holder
        end
        table.sort(holders)
    else
        local names = kind == 'name' and {'newest ' .. what} or redis.call('HKEYS', index)
        for _, field in ipairs(names) do
            local number = string.sub(field, 1, 7) == 'newest ' and redis.call('HGET', index, field)
            if number then holders[#holders + 1] = string.sub(field, 8) .. ':' .. number end
        end
    end
    for _, holder in ipairs(holders) do
        found[#found + 1] = holder
        found[#found + 1] = redis.call('HGET', index, 'version ' .. holder) or ''
    end
    return found
end
"""
FIND = f"{FIND_IN} return find(KEYS[1], ARGV[1], ARGV[2])"

# Answers nil where the index is not whole, else every name.
NAMES = """
if redis.call('HGET', KEYS[1], 'whole') ~= '1' then return nil end
local found = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 7) == 'newest ' then found[#found + 1] = string.sub(field, 8) end
end
return found
"""

Living = tuple[str, int, AdapterVersion | None]  # name, number, and what it is, where that can be read


class CatalogIndex:
    """Finds records by name, version or bytes."""

    def __init__(self, redis: Redis, read_all: Callable[[], Iterable[Living]]) -> None:
        self._redis = redis
        self._read_all = read_all

    def find(self, kind: str, what: str = "") -> list[tuple[str, str]] | None:
        """`<name>:<version>` and record, if any, of all that is asked for; None where only storage knows."""
        found = self._ask(FIND, kind, what)
        if found is None or (kind != "version" and not all(map(HOLDER.fullmatch, found[::2]))):
            return None if found is None else self.distrust()
        return list(zip(found[::2], found[1::2], strict=True))

    def distrust(self) -> None:
        """Have the index made again: somebody else has written into it."""
        with suppress(RedisError):
            self._redis.delete(INDEX)

    def names(self) -> list[str] | None:
        """Every name; None where only storage knows."""
        return self._ask(NAMES)

    def add(self, version: AdapterVersion) -> None:
        """Take a version in."""
        self._add("", namespace(version.name, version.owner), version.version, version)

    def drop(self, name: str, numbers: Iterable[int]) -> None:
        """Take a name out."""
        self._run(DROP, name, *numbers)

    def _add(self, token: str, name: str, number: int, version: AdapterVersion | None) -> None:
        record: list[str | bytes] = [version.sha256, VERSION.write(version)] if version else []
        self._run(ADD, token, name, number, *record)

    def _ask(self, script: str, *args: str) -> list[str] | None:
        try:
            found = self._run(script, *args)
            if found is None and rebuild.ensure(self._redis, INDEX, self._whole, self._rebuild):
                found = self._run(script, *args)
        except RedisError:
            return None
        return None if found is None else [one.decode(errors="replace") for one in cast(list[bytes], found)]

    def _run(self, script: str, *args: str | bytes | int) -> Any:
        return self._redis.register_script(script)(keys=[INDEX], args=args)

    def _whole(self) -> bool:
        return self._redis.hget(INDEX, "whole") == b"1"

    def _rebuild(self, token: str) -> bool:
        self._run(BEGIN, token)
        for one in self._read_all():
            self._add(token, *one)
        return bool(self._run(CLOSE, token))
