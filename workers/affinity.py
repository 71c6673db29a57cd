"""The queues of one model as a worker takes from them: not always the head, but what suits what it holds.

RQ stays the queue: its lists, its registry of what is between queue and worker, its retries. Only which id leaves a
list is decided here: a look at the first generations, a choice (`workers/choosing.py`), and one script that takes the
chosen one as RQ's own LMOVE would take the head, or refuses where the look is out of date. The script counts whom it
passes over and never passes over one that is due, so the bounds hold with any number of workers.

| field of RQ's hash `rq:job:<id>` | what | written by |
|---|---|---|
| `meta` | JSON, `{"wears": [sha256]}` | whoever queues the job |
| `passed` | how often one behind it was taken | the script |
| `passed_since` | when that happened first, in seconds of Redis' clock | the script |

They live and die with the job. A job without them, as after RQ tried it again, is taken in its turn.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis import Redis
from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job

from app.shared.queue import SERIALIZER, generation_queues
from app.shared.settings import Settings
from workers.choosing import Limits, Waiting, choose

TRIES = 5  # refusals in a row, where many workers take at once, after which the head will do

# KEYS: the queues, first things first; ARGV: how many generations to look at, prefix of RQ's jobs.
# Answers nil, or JSON (`meta` is JSON already): the number of the first queue that has any, the time, and rows.
LOOK = """
for number, queue in ipairs(KEYS) do
    local ids = redis.call('LRANGE', queue, 0, ARGV[1] - 1)
    if #ids > 0 then
        local time = redis.call('TIME')
        local rows = {number, string.format('%d.%06d', time[1], time[2])}
        for _, id in ipairs(ids) do
            local fields = redis.call('HMGET', ARGV[2] .. id, 'meta', 'passed', 'passed_since', 'started_at')
            local first = not fields[1] or (fields[4] and fields[4] ~= '')
            rows[#rows + 1] = '["' .. id .. '",' .. (fields[1] or '{}') .. ',' .. (fields[2] or 0) .. ','
                .. (fields[3] or 'null') .. ',' .. tostring(first) .. ']'
        end
        return '[' .. table.concat(rows, ',') .. ']'
    end
end
return nil
"""

# KEYS: the queues, first things first, down to the one that holds it, then RQ's list of what is on its way to a worker;
# ARGV: id, passes, wait_s, prefix of RQ's jobs. Answers 1, or 0 where it is gone, something more urgent has come, or
# one before it is due: then look again.
TAKE = """
local queue, prefix = KEYS[#KEYS - 1], ARGV[4]
for number = 1, #KEYS - 2 do
    if redis.call('EXISTS', KEYS[number]) == 1 then return 0 end
end
local place = redis.call('LPOS', queue, ARGV[1])
if not place then return 0 end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local before = place > 0 and redis.call('LRANGE', queue, 0, place - 1) or {}
for _, id in ipairs(before) do
    local fields = redis.call('HMGET', prefix .. id, 'meta', 'started_at', 'passed', 'passed_since')
    local first = not fields[1] or (fields[2] and fields[2] ~= '')
    local waited = fields[4] and now - tonumber(fields[4]) or 0
    if first or tonumber(fields[3] or 0) >= tonumber(ARGV[2]) or waited >= tonumber(ARGV[3]) then return 0 end
end
for _, id in ipairs(before) do
    redis.call('HINCRBY', prefix .. id, 'passed', 1)
    redis.call('HSETNX', prefix .. id, 'passed_since', string.format('%.6f', now))
end
redis.call('LREM', queue, 1, ARGV[1])
redis.call('RPUSH', KEYS[#KEYS], ARGV[1])
return 1
"""


@dataclass
class Holding:
    """What a worker's engine wears and has in memory, as the worker last heard: sha256 of adapters."""

    worn: frozenset[str] = field(default_factory=frozenset)
    resident: frozenset[str] = field(default_factory=frozenset)


class AffinityQueue(Queue):
    """An RQ queue out of which a worker takes what suits what it holds."""

    holding = Holding()
    limits = Limits(window=1, passes=0, wait_s=0.0)

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: Redis,
        job_class: type[Job] | None = None,
        serializer: Any = None,
        death_penalty_class: Any = None,
    ) -> tuple[Job, Queue] | None:
        """A job out of the first of the queues that has one, and that queue; RQ's seam.

        Waits `timeout` seconds where there is none, then raises DequeueTimeout; without a timeout answers None.
        """
        queues = list(queues)
        keys = [queue.key for queue in queues]
        chooser = cast(AffinityQueue, queues[0])
        while True:
            taken = _choose(chooser, keys, connection) or _head(keys, timeout, connection)
            if taken is None:
                return None
            key, job_id = taken
            found = cls._fetch_dequeued_job(connection, key, job_id, job_class, serializer, death_penalty_class)
            if found:
                return found
            IntermediateQueue(key, connection).remove(job_id)  # it was dropped just now


def affinity_queues(model: str, redis: Redis, settings: Settings) -> list[Queue]:
    """The queues of a model, the one that goes first first, with one `holding` for all of them."""
    holding = Holding()
    limits = Limits(settings.affinity_window, settings.affinity_passes, settings.affinity_wait_s)
    queues = [AffinityQueue(name, connection=redis, serializer=SERIALIZER) for name in generation_queues(model)]
    for queue in queues:
        queue.holding, queue.limits = holding, limits
    return list(queues)


def _choose(chooser: AffinityQueue, keys: Sequence[str], redis: Redis) -> tuple[str, str] | None:
    """Take what suits best, and say out of which queue; None where nothing waits, or others were always quicker."""
    holding, limits = chooser.holding, chooser.limits
    look, take = redis.register_script(LOOK), redis.register_script(TAKE)
    prefix = Job.redis_job_namespace_prefix
    for _ in range(TRIES):
        seen = cast(bytes | None, look(keys=keys, args=[limits.window, prefix]))
        if seen is None:
            return None
        number, now, *rows = json.loads(seen)
        urgent = keys[:number]
        waiting = [
            Waiting(frozenset(meta.get("wears", ())), passed, since, first) for _, meta, passed, since, first in rows
        ]
        job_id = rows[choose(waiting, holding.worn, holding.resident, limits, now)][0]
        on_its_way = IntermediateQueue.get_intermediate_queue_key(urgent[-1])
        if take(keys=[*urgent, on_its_way], args=[job_id, limits.passes, limits.wait_s, prefix]):
            return urgent[-1], job_id
    return None


def _head(keys: Sequence[str], timeout: int | None, redis: Redis) -> tuple[str, str] | None:
    """Take the head of the first queue that has one, as RQ does; with a timeout, wait for it."""
    for key in keys:
        if moved := Queue.lmove(redis, key, None):
            return key, moved[1].decode()
    if timeout is None:
        return None
    key, job_id = (text.decode() for text in Queue.lpop(keys, timeout, connection=redis))  # type: ignore[union-attr]
    redis.rpush(IntermediateQueue.get_intermediate_queue_key(key), job_id)
    return key, job_id
