"""Generations as they stand, and their list, on the event loop: what Redis knows of many in one script.

What it does not know, or what is not as we write it there, `Ledger` looks for in a thread, and mends: storage knows.
"""

import builtins
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import get_args

from redis.exceptions import RedisError
from rq.job import Job
from rq.queue import Queue
from starlette.concurrency import run_in_threadpool

from app.http.places import Place, placed
from app.scripts import Script, Scripts
from app.shared.errors import Unreadable
from app.shared.generation_keys import pending_key
from app.shared.generation_records import as_it_stands
from app.shared.generations import Ledger
from app.shared.index import unknown
from app.shared.job import ID
from app.shared.lifecycle import live_key
from app.shared.owners import Asker
from app.shared.queue import NEAR, generation_queue
from app.shared.records import PENDING
from app.shared.stars import STARRED
from app.shared.stars import WHOLE as STARS_WHOLE
from app.shared.wanted import EVERYTHING, Wanted
from app.shared.wire.generation import Generation, Priority, Status

STATUSES = {Status.QUEUED.encode(), Status.RUNNING.encode()}  # of what has not ended
PLACES = [generation_queue("", priority).removeprefix(generation_queue("")) for priority in get_args(Priority)]

# Answers id, whether it has a star (1, 0, or -1 where Redis cannot tell), the fields of the live state, and its place
# in the queue or -1. It is looked for from the tail, for those
# that are listed came last; where it lies, its job says: on the queue of a model, or of one base of it, or of what
# needs models for its maps there; beside which there are those of less.
ROW = (
    f"""
local LIVE, JOB, QUEUE = '{live_key("")}', '{Job.redis_job_namespace_prefix}', '{Queue.redis_queue_namespace_prefix}'
local STARRED, WHOLE_STARS = '{STARRED}', '{STARS_WHOLE}'
local NEAR, PLACES = {NEAR}, {{{", ".join(f"'{place}'" for place in PLACES)}}}"""
    """
local function place(id)
    local queue, before = redis.call('HGET', JOB .. id, 'origin') or '', 0
    local own, model = string.match(queue, '^[^:]*'), string.match(queue, '^[^:@]*')
    local base, names = string.match(queue, '^[^:@]*@[^:.]*'), {own}  -- base: of what needs no models for maps
    if base and base ~= own then names[#names + 1] = base end
    if model ~= own then names[#names + 1] = model end
    for _, priority in ipairs(PLACES) do
        for _, name in ipairs(names) do
            if name .. priority == queue then
                local key = QUEUE .. queue
                local found = redis.call('LPOS', key, id, 'RANK', -1, 'MAXLEN', NEAR)
                    or redis.call('LPOS', key, id, 'MAXLEN', NEAR)
                return found and before + found or -1
            end
            before = before + redis.call('LLEN', QUEUE .. name .. priority)
        end
    end
    return -1
end
local function star(id)
    return redis.call('SISMEMBER', STARRED, WHOLE_STARS) == 1 and redis.call('SISMEMBER', STARRED, id) or -1
end
local function row(id)
    local live = redis.call('HMGET', LIVE .. id, 'final', 'accepted', 'status', 'step', 'started_at')
    if live[1] then return {id, star(id), live[1]} end
    local waits = live[3] == 'queued' and place(id) or -1
    return {id, star(id), '', live[2] or '', live[3] or '', live[4] or '', live[5] or '', waits}
end
"""
)
ONE = Script(f"{ROW} return row(ARGV[1])")
MANY = Script(
    f"{ROW}"
    """
local found = {}
for at, id in ipairs(ARGV) do found[at] = row(id) end
return found
"""
)


@dataclass(frozen=True)
class Standing:
    """A generation as it stands, and the JSON that says so: made once for as long as nothing about it changes."""

    generation: Generation

    @cached_property
    def json(self) -> str:
        """As it is stored: its pictures below no prefix."""
        return self.generation.model_dump_json()

    def placed(self, place: Place) -> str:
        """Its JSON where the service is seen below a prefix."""
        return placed(self.generation, place).model_dump_json() if place else self.json


class FastReading:
    """Reads generations; raises as `Ledger` does.

    asker: as in `Ledger`.
    """

    def __init__(self, scripts: Scripts, ledger: Ledger, asker: Asker = None) -> None:
        self._asker = asker
        self._scripts = scripts
        self._ledger = ledger

    async def get(self, generation_id: str) -> Standing:
        """A generation as it stands."""
        found = None
        if ID.fullmatch(generation_id):
            try:
                found = _stands(*await self._scripts.run(ONE, [], [generation_id]))
            except RedisError:
                found = None
        if found and self._asker not in (None, found.generation.owner):
            raise unknown()
        return found or Standing(await run_in_threadpool(self._ledger.get, generation_id))

    async def list(
        self, limit: int, before: str | None, wanted: Wanted = EVERYTHING
    ) -> tuple[builtins.list[Standing], str | None]:
        """As `Ledger.list`."""
        found: builtins.list[Standing] = []
        while True:
            ids, more = await run_in_threadpool(self._ledger.index.page, limit - len(found), before, wanted)
            found += [one for one in await self._those(ids) if wanted.met_by(one.generation)]
            before = ids[-1] if ids else None
            if len(found) >= limit or not more:
                return found, before if more else None

    async def those(self, ids: Iterable[str]) -> builtins.list[Standing]:
        """The generations of these ids, in their order, each once; but for those that are not there."""
        found = await self._those([*dict.fromkeys(ids)])
        return [one for one in found if self._asker in (None, one.generation.owner)]

    async def _those(self, ids: Sequence[str]) -> builtins.list[Standing]:
        """As `Ledger.those`."""
        found: dict[str, Standing | None] = dict.fromkeys(ids)
        with suppress(RedisError):
            rows = await self._scripts.run(MANY, [], ids) if ids else []
            found = {one: _stands(*row) for one, row in zip(ids, rows, strict=True)}
        if unknown := [one for one, standing in found.items() if standing is None]:
            found |= {one.id: Standing(one) for one in await run_in_threadpool(self._ledger.those, unknown)}
        return [one for one in found.values() if one]


@lru_cache(2048)
def _stands(generation_id: bytes, star: int, final: bytes, *rest: bytes | int) -> Standing | None:
    """The generation of a row, or None where that does not tell it."""
    if star < 0:
        return None
    starred = {"starred": star == 1}
    try:
        if final:
            return Standing(_read(generation_id, final).model_copy(update=starred))
        accepted, status, step, started_at, place = rest
        if status not in STATUSES:
            return None
        generation = _read(generation_id, accepted)  # type: ignore[arg-type]
    except (Unreadable, ValueError):
        return None
    fields = {"status": status, "step": step, "started_at": started_at}
    live = {name: value.decode(errors="replace") for name, value in fields.items() if value}  # type: ignore[union-attr]
    stands = as_it_stands(generation, live, lambda _: int(place) if int(place) >= 0 else None)
    return Standing(stands.model_copy(update=starred))


@lru_cache(2048)
def _read(generation_id: bytes, text: bytes) -> Generation:
    return PENDING.read(pending_key(generation_id.decode()), text).generation
