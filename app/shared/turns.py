"""Whose turn it is: jobs of several owners stand in a queue in turns, one of each owner in a turn.

An owner's job has the turn after that of its owner's last one, but none that is over: the turn of the head is the
earliest. It stands behind all others of its turn. So the queue of one owner alone is first come, first served, as it
always was; a job of one who has nothing there waits for one job of each other owner, however many they have. Whoever
takes from the queue chooses among its first jobs as before (`workers/dispatch/affinity.py`), within the same bounds.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:turns:<queue>` | hash | owner to the turn of their last job; begun anew where the queue is empty | for ever |

The field `turn` of RQ's `rq:job:<id>` is a job's turn; without it, as of what older code has queued, it is before all.
"""

# `queue_up` puts a job, whose hash is there, into a queue and answers how many are before it; prefix: of RQ's jobs.
# What has a turn is in order of it; retries are at the front, and had their turn. What is none of ours counts as 0.
QUEUE_UP = """
local function turn_at(queue, place, prefix)
    local said = redis.pcall('HGET', prefix .. redis.call('LINDEX', queue, place), 'turn')
    return type(said) == 'string' and tonumber(said) or 0
end
local function queue_up(queue, turns, prefix, id, owner)
    local low, high, turn, last = 0, redis.call('LLEN', queue), 1, 0
    if high == 0 or redis.call('TYPE', turns).ok ~= 'hash' then redis.call('DEL', turns) end
    if high > 0 then
        last = turn_at(queue, -1, prefix)
        local own = tonumber(redis.call('HGET', turns, owner) or 0) or 0
        -- no later than behind all others: of jobs that were canceled nobody waits for the turns
        turn = math.max(turn_at(queue, 0, prefix), math.min(own, last) + 1)
    end
    redis.call('HSET', turns, owner, turn)
    redis.call('HSET', prefix .. id, 'turn', turn)
    if last <= turn then return redis.call('RPUSH', queue, id) - 1 end
    while low < high do
        local middle = math.floor((low + high) / 2)
        if turn_at(queue, middle, prefix) <= turn then low = middle + 1 else high = middle end
    end
    redis.call('LINSERT', queue, 'BEFORE', redis.call('LINDEX', queue, low), id)
    return low
end
"""

# KEYS: a queue, its turns; ARGV: prefix of RQ's jobs, id, owner. Puts a job that RQ has just queued where it belongs,
# unless a worker was quicker.
MOVE = f"""{QUEUE_UP}
if redis.call('LREM', KEYS[1], -1, ARGV[2]) == 1 then queue_up(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]) end
"""


def turns_key(queue: str) -> str:
    """Where the turns of a queue are counted; queue: its name."""
    return f"radiata:turns:{queue}"
