"""The queues of one model as a worker takes from them: not always the head, but a job that suits the engine's state.

RQ's lists, its registry of what is between queue and worker, and its retries stay in use. Only which id leaves a list
is decided here: a look at the first generations, a choice (`workers/dispatch/affinity_policy.py`), and one script that
takes the chosen one as RQ's own LMOVE would take the head, or refuses where the look is out of date. The script counts
the jobs that it passes over and never passes over one that is due, so the bounds hold with any number of workers.

| field of RQ's hash `rq:job:<id>` | what | written by |
|---|---|---|
| `meta` | JSON, `{"adapters": [sha256]}` | whoever queues the job |
| `passed` | how often one behind it was taken | the script |
| `passed_since` | when that happened first, in seconds of Redis' clock | the script |

They are deleted with the job. A job without them, as after RQ tried it again, is taken in its turn.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job

from app.shared.job import FIELDS, SERIALIZER, KnownQueue
from app.shared.metrics import of_choice, tally
from app.shared.queue import generation_queues, priority_of
from app.shared.settings import Settings
from workers.dispatch.affinity_policy import Limits, Waiting, choose, fit

log = structlog.get_logger()

TRIES = 5  # refusals in a row, where many workers take at once, after which the head is taken

# KEYS: the queues, the most urgent first; ARGV: how many generations to look at, prefix of RQ's jobs, how urgent each
# queue is. Of queues that are as urgent the one is next whose head has waited longest.
# Returns nil, or the number of the next queue, the time, and rows of id, `meta`, `passed`, `passed_since`
# and whether it is to be taken in its turn. Values are as they stand; whoever reads them judges them.
LOOK = """
local next_one, oldest
for number, queue in ipairs(KEYS) do
    if next_one and ARGV[2 + number] ~= ARGV[2 + next_one] then break end
    local head = redis.call('LINDEX', queue, 0)
    if head then
        local since = redis.call('HGET', ARGV[2] .. head, 'enqueued_at') or ''
        if not next_one or since < oldest then next_one, oldest = number, since end
    end
end
if not next_one then return nil end
local time = redis.call('TIME')
local rows = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[next_one], 0, ARGV[1] - 1)) do
    local fields = redis.call('HMGET', ARGV[2] .. id, 'meta', 'passed', 'passed_since', 'started_at')
    local first = not fields[1] or (fields[4] and fields[4] ~= '')
    rows[#rows + 1] = {id, fields[1] or '', fields[2] or '', fields[3] or '', first and 1 or 0}
end
return {next_one, string.format('%d.%06d', time[1], time[2]), rows}
"""

# KEYS: the queues that are more urgent, then the one that holds it, then RQ's list of what is on its way to a
# worker; ARGV: id, passes, wait_s, prefix of RQ's jobs. Returns 1, or 0 where it is gone, a more urgent one has come,
# or one before it is due: then look again.
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
    local waited = math.abs(now - (tonumber(fields[4] or now) or now))
    if first or (tonumber(fields[3] or 0) or 0) >= tonumber(ARGV[2]) or waited >= tonumber(ARGV[3]) then return 0 end
end
for _, id in ipairs(before) do
    redis.pcall('HINCRBY', prefix .. id, 'passed', 1)
    redis.pcall('HSETNX', prefix .. id, 'passed_since', string.format('%.6f', now))
end
redis.call('LREM', queue, 1, ARGV[1])
redis.call('RPUSH', KEYS[#KEYS], ARGV[1])
return 1
"""


@dataclass
class EngineState:
    """The adapters of a worker's engine by sha256, as of its last reply."""

    active: frozenset[str] = field(default_factory=frozenset)  # on the model
    resident: frozenset[str] = field(default_factory=frozenset)  # in memory


class AffinityQueue(KnownQueue):
    """An RQ queue out of which a worker takes a job that suits the state of its engine."""

    engine_state = EngineState()
    limits = Limits(window=1, passes=0, wait_s=0.0)

    def take(self, keys: list[str], timeout: int | None, redis: Redis) -> tuple[str, bytes] | None:
        """Take the job that suits best, or the head where others were always quicker or the queue cannot be judged."""
        return self._choose(keys, redis) or super().take(keys, timeout, redis)

    def _choose(self, keys: list[str], redis: Redis) -> tuple[str, bytes] | None:
        look, take = redis.register_script(LOOK), redis.register_script(TAKE)
        prefix, limits = Job.redis_job_namespace_prefix, self.limits
        urgency = [priority_of(key.removeprefix(Queue.redis_queue_namespace_prefix)) for key in keys]
        for _ in range(TRIES):
            try:
                seen = cast(list[Any] | None, look(keys=keys, args=[limits.window, prefix, *urgency]))
                if seen is None:
                    return None
                number, now, rows = seen
                waiting = [_waiting(*row[1:]) for row in rows]
                has = self.engine_state.active, self.engine_state.resident
                place = choose(waiting, *has, limits, float(now))
                entry = rows[place][0]
                queue = keys[number - 1]
                urgent = keys[: urgency.index(urgency[number - 1])]
                on_its_way = IntermediateQueue.get_intermediate_queue_key(queue)
                if take(keys=[*urgent, queue, on_its_way], args=[entry, limits.passes, limits.wait_s, prefix]):
                    tally(of_choice(fit(waiting[place].adapters, *has)))
                    return queue, entry
            except ResponseError as error:  # a key of another type than it should be: take the head
                log.warning("queue_unreadable", error=str(error))
                return None
        return None


def _waiting(meta: bytes, passed: bytes, since: bytes, first: int) -> Waiting:
    """Read a row; one that we did not write is taken in its turn, and then refused."""
    fields = {"meta": meta or b"{}", "passed": passed or b"0", "passed_since": since or b"0"}
    if first or not all(re.fullmatch(FIELDS[name], value) for name, value in fields.items()):
        return Waiting(frozenset(), first=True)
    adapters = json.loads(fields["meta"]).get("adapters", ())
    return Waiting(frozenset(adapters), int(fields["passed"]), float(since) if since else None)


def affinity_queues(
    model: str, redis: Redis, settings: Settings, base: str = "", needs: Iterable[str] = ()
) -> list[Queue]:
    """The queues of a model and base, the most urgent first, with one `engine_state` for all of them.

    needs: digests of the models for maps that generations on further queues of it need.
    """
    engine_state = EngineState()
    limits = Limits(settings.affinity_window, settings.affinity_passes, settings.affinity_wait_s)
    names = generation_queues(model, base, [*needs])
    queues = [AffinityQueue(name, connection=redis, serializer=SERIALIZER) for name in names]
    for queue in queues:
        queue.engine_state, queue.limits = engine_state, limits
    return list(queues)
