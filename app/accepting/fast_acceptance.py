"""Accepting a request: what every way in calls, on the event loop and at a fraction of `Ledger.accept`'s cost.

One script reads from Redis what a request is judged by, and one writes what was accepted: live state, index, event,
RQ's job. Requests in flight share round trips (`app/scripts.py`), and their records' flushes. The record is written
between the two scripts, and that alone makes it accepted, here as there.

Whatever is out of the ordinary is left to the careful way, before anything was written: an adapter that the index has
not, or has in a way that cannot be read exactly, a caller whose generations are limited, a Redis that is away. So there
is one place that says what is wrong, and mends it.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from itertools import chain

from anyio import to_thread
from pydantic import BaseModel
from redis.exceptions import RedisError
from rq.job import Job
from rq.queue import Queue
from rq.serializers import resolve_serializer
from rq.utils import now, utcformat
from starlette.concurrency import run_in_threadpool

from app.accepting.brought import with_refs
from app.accepting.generations import aside_of, preprocessors_of, resolve
from app.deps import Service
from app.outgoing.starting import KIND as START
from app.scripts import Argument, Script
from app.shared.accepted import Accepted
from app.shared.at_once import WouldWait, at_once
from app.shared.catalog import asked, indexed
from app.shared.catalog_index import FIND_IN, HOLDER
from app.shared.catalog_index import INDEX as ADAPTERS
from app.shared.discretion import hide, prompts_of
from app.shared.errors import NotFound, Unreadable
from app.shared.events import CHANGED, MAX_ENTRIES, stream_key
from app.shared.generation_keys import pending_key
from app.shared.generation_records import begun
from app.shared.generations import PLACES
from app.shared.index import index_key, moment
from app.shared.job import GENERATE, SERIALIZER, data_of, meta_of
from app.shared.lifecycle import live_key
from app.shared.living import LIVING, living_key
from app.shared.preprocessing import digest
from app.shared.queue import generation_queue, generation_queues
from app.shared.records import PENDING
from app.shared.turns import QUEUE_UP, turns_key
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.generation import Generation, GenerationRequest
from app.shared.wire.model import ModelProfile

# KEYS: the adapters' index, queues; ARGV: kind and name of each adapter, in turn. Answers how many wait, and of each
# adapter the first holder and its record, in turn, as far as the index has them.
ASK = Script(
    f"{FIND_IN}"
    """
local answers = {0}
for at = 2, #KEYS do answers[1] = answers[1] + redis.call('LLEN', KEYS[at]) end
for at = 1, #ARGV, 2 do
    local found = find(KEYS[1], ARGV[at], ARGV[at + 1]) or {}
    answers[#answers + 1], answers[#answers + 2] = found[1] or '', found[2] or ''
end
return answers
"""
)

# KEYS: live state, index, stream, RQ's job, RQ's names of queues, the owner's places, all such, the queue's turns, the
# queue, those before it. ARGV: id, seconds that live state is kept, score in the index, the record, the channel, prefix
# of RQ's jobs, the owner, then fields of the job and what they say, in turn. Answers its place, or nil where it is
# queued already: then nothing changes.
QUEUE = Script(
    f"local MAX_ENTRIES = {MAX_ENTRIES} {QUEUE_UP}"
    """
if redis.call('EXISTS', KEYS[4]) == 1 then return nil end
redis.call('HSET', KEYS[1], 'accepted', ARGV[4], 'status', 'queued')
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', MAX_ENTRIES, '*', 'kind', 'status', 'data', '{"status": "queued"}')
redis.call('EXPIRE', KEYS[3], ARGV[2])
redis.call('PUBLISH', ARGV[5], ARGV[1])
redis.call('ZADD', KEYS[6], 0, ARGV[1])
redis.call('SADD', KEYS[7], KEYS[6])
redis.call('SADD', KEYS[5], KEYS[9])
redis.call('HSET', KEYS[4], unpack(ARGV, 8))
local place = queue_up(KEYS[9], KEYS[8], ARGV[6], ARGV[1], ARGV[7])
for at = 10, #KEYS do place = place + redis.call('LLEN', KEYS[at]) end
return place
"""
)


async def accept(
    service: Service,
    body: GenerationRequest,
    idempotency_key: str | None = None,
    fingerprint: str | None = None,
    own: str | None = None,
    moderated: bool = False,
) -> Generation:
    """Accept what a request asks for; where its key was used for the same body before, return what was accepted then.

    fingerprint: of the body that the key was sent with, where that has more than this request. own: its id, where the
    ledger was asked for it before. moderated: the hook was asked.

    Raises Conflict where the key was used for another body, Unavailable where there is no room or no queue, and what
    `with_refs` and `resolve` raise.
    """
    hide(prompts_of(body))
    fingerprint = fingerprint or fingerprint_of(body)
    if idempotency_key is not None:
        known = await run_in_threadpool(service.ledger.repeat, idempotency_key, fingerprint)
        if known is not None:
            return known
    body = await with_refs(service, body)
    if service.moderation.there and not moderated:
        await moderate(service, body)
    own = own or service.ledger.id_for(idempotency_key)
    generation = await quickly(service, body, own, fingerprint)
    generation = generation or await run_in_threadpool(carefully, service, body, idempotency_key, own, fingerprint)
    if body.start_within_s is not None:
        with suppress(RedisError):  # then the worker that takes it up looks alone
            await run_in_threadpool(service.outgoing.put, f"{START}:{generation.id}", body.start_within_s)
    return generation


async def moderate(service: Service, body: GenerationRequest) -> None:
    """Ask the operator's hook about a request; raises Moderated, and ModerationAway."""
    # Whom a webhook calls may be what opens it
    asked = body.model_dump(mode="json", exclude={"webhook"})
    # In no thread of those that all other requests need: it may be slow
    await to_thread.run_sync(service.moderation.request, asked, service.owner, limiter=service.moderating)


def fingerprint_of(body: BaseModel) -> str:
    """A hash that tells one body from another."""
    # Without what is as by default: a field added later must not make another body of one that lacks it
    asked = body.model_dump(mode="json", exclude_defaults=True)
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def carefully(
    service: Service, body: GenerationRequest, idempotency_key: str | None, generation_id: str, fingerprint: str
) -> Generation:
    """Accept what a request asks for, in a thread: `repeat`, then `accept`."""
    known = service.ledger.repeat(idempotency_key, fingerprint)  # the same may have been accepted just now
    if known:
        return known
    request = resolve(service, body)
    with service.limits.place(PLACES.name, generation_id):
        return service.ledger.accept(
            request,
            own=generation_id,
            fingerprint=fingerprint,
            priority=body.priority,
            aside=aside_of(body, service.webhook),
        )


async def quickly(service: Service, body: GenerationRequest, generation_id: str, fingerprint: str) -> Generation | None:
    """Accept what a request asks for; None where only the careful way can tell. Raises as that does."""
    if service.limits.of(PLACES.name):
        return None
    try:
        with at_once():
            profile = service.profiles.get(body.model or service.settings.model)
            needs = digest(preprocessors_of(service, profile, body) or {})
        waiting, versions = await _ask(service, profile, body, needs)
        with at_once():
            request = resolve(service, body, versions.__getitem__)
    except (RedisError, Unreadable, WouldWait, NotFound):
        return None
    service.ledger.judge_room(request.model, waiting)
    accepted = begun(
        generation_id, request, body.priority, fingerprint, aside_of(body, service.webhook), service.ledger.owner
    )
    generation, text = accepted.generation, PENDING.write(accepted)
    if not await service.storage.create_async(pending_key(generation.id), text):
        return None
    try:
        place = await service.scripts.run(QUEUE, *_queueing(service, accepted, text))
    except RedisError:
        place = None  # the sweep queues it
    return generation.model_copy(update={"queue_position": place})


async def _ask(
    service: Service, profile: ModelProfile, body: GenerationRequest, needs: str
) -> tuple[int, dict[str, AdapterVersion]]:
    """How many wait before it, and the versions that its adapters mean; needs: digest of what its maps are made with.

    Raises WouldWait or Unreadable for what the index lacks, or has in a way that we do not write.
    """
    refs = [use.ref for use in body.adapters[: service.settings.max_adapters]]
    if refs and service.asker is not None:  # the index knows names, and not who may use them
        raise WouldWait
    queues = service.ledger.queues.keys(profile.name, body.priority, profile.fingerprint, needs)
    words = [word for ref in refs for word in asked(ref)]
    waiting, *found = await service.scripts.run(ASK, [ADAPTERS, *queues], words)
    if not all(found):
        raise WouldWait
    versions = map(_version, refs, found[::2], found[1::2])
    return waiting, dict(zip(refs, versions, strict=True))


def _queueing(service: Service, accepted: Accepted, text: bytes) -> tuple[list[str], list[Argument]]:
    """Keys and arguments of `QUEUE`."""
    generation, request, queues = accepted.generation, accepted.generation.request, service.ledger.queues
    needs = digest(request.preprocessors)
    name = generation_queue(request.model, generation.priority, request.base, needs)
    before = generation_queues(request.model, request.base, [needs])
    keys = [
        *(live_key(generation.id), index_key(generation.owner), stream_key(generation.id)),
        *(f"{Job.redis_job_namespace_prefix}{generation.id}", Queue.redis_queues_keys),
        *(living_key(PLACES.name, generation.owner), LIVING, turns_key(name)),
        *(f"{Queue.redis_queue_namespace_prefix}{one}" for one in (name, *before[: before.index(name)])),
    ]
    since = moment(generation.id, generation.created_at)
    adapters = [one.sha256 for one in request.adapters]
    job = filled(queues.template(name), generation.id, adapters)
    facts = [generation.id, service.settings.keep_live_s, since, text, CHANGED]
    return keys, [*facts, Job.redis_job_namespace_prefix, generation.owner, *chain(*job.items())]


def filled(template: Mapping[str, Argument], generation_id: str, adapters: Iterable[str]) -> dict[str, Argument]:
    """The hash of RQ's job of a generation that is queued now."""
    when = utcformat(now())
    return {
        **template,
        "created_at": when,
        "enqueued_at": when,
        "data": zlib.compress(data_of(GENERATE, generation_id)),
        "description": generation_id,
        "meta": _dumps(meta_of(adapters)),
    }


_dumps = resolve_serializer(SERIALIZER).dumps  # type: ignore[attr-defined]


@lru_cache(4096)
def _version(ref: str, holder: bytes, text: bytes) -> AdapterVersion:
    name = holder.decode(errors="replace")
    if not HOLDER.fullmatch(name):
        raise WouldWait
    version = indexed(name, text)
    kind, which = asked(ref)
    if (kind == "bytes" and version.sha256 != which) or "@" in name:
        raise WouldWait
    return version
