"""The parts that a route may ask for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, cast
from weakref import WeakSet

from anyio import CapacityLimiter
from fastapi import Depends, Request
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.accepting.limits import Limits
from app.accepting.liveness import Liveness
from app.callers import CALLER, Caller, Callers
from app.fast_reading import FastReading
from app.http.places import Place, placed
from app.hub import Hub
from app.links import Links
from app.outgoing.assembling import Assembling
from app.outgoing.courier import Courier
from app.outgoing.delivering import Delivering
from app.outgoing.downloading import Downloading
from app.outgoing.gathering import KIND as INDEX
from app.outgoing.gathering import Gathering
from app.outgoing.keeping import KIND as KEEP
from app.outgoing.keeping import Keeping
from app.outgoing.starting import KIND as START
from app.outgoing.starting import Starting
from app.scripts import Scripts
from app.shared.catalog import Catalog
from app.shared.connection import Shutter, connect, connect_async
from app.shared.datasets import Datasets
from app.shared.downloads import KIND as DOWNLOAD
from app.shared.downloads import Downloads
from app.shared.errors import Forbidden
from app.shared.fetching.fetcher import Fetcher
from app.shared.fetching.sources import Sources
from app.shared.generations import Ledger
from app.shared.identity import claim
from app.shared.keys import Keyring
from app.shared.moderation import AT_ONCE, Moderation
from app.shared.outgoing import Outgoing
from app.shared.own_catalog import OwnCatalog
from app.shared.owners import FIRST, FIRST_SAID, Asker
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.resumables import KIND as RESUMABLE
from app.shared.resumables import Resumables
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads
from app.shared.usage import Usage
from app.shared.webhooks import KIND as WEBHOOK
from app.shared.webhooks import Webhooks, webhook_secret
from app.shared.wire.generation import Generation
from app.shared.wire.key import NO_LIMITS
from app.shared.wire.webhook import Webhook

REMEMBERED = 1024  # callers whose view of the service is kept


class Ticket:
    """For something of which only so many are at once: it counts for as long as somebody holds it."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker


@dataclass(frozen=True)
class Service:
    """The parts of a running service, made once."""

    settings: Settings
    redis: Redis
    async_redis: AsyncRedis
    scripts: Scripts
    storage: Storage
    ledger: Ledger
    reading: FastReading
    hub: Hub
    catalog: Catalog
    profiles: Profiles
    liveness: Liveness
    uploads: Uploads
    downloads: Downloads
    resumables: Resumables
    sources: Sources
    webhooks: Webhooks
    outgoing: Outgoing
    courier: Courier
    trainings: Trainings
    pictures: Pictures
    datasets: Datasets
    limits: Limits
    usage: Usage
    moderation: Moderation
    callers: Callers
    links: Links
    signer: Signer
    asker: Asker = None
    may_hurry: bool = True  # ask for the priority that passes everybody's
    webhook: Webhook | None = None  # of the key that was shown: of generations that name none
    # A ticket for each request that waits for a generation: whose it is, and something of its own
    waiting: set[tuple[Asker, object]] = field(default_factory=set[tuple[Asker, object]])
    moderating: CapacityLimiter = field(default_factory=partial(CapacityLimiter, AT_ONCE))  # threads that ask the hook
    streams: WeakSet[Ticket] = field(default_factory=WeakSet[Ticket])  # of events, that somebody listens to
    _views: dict[tuple[str, bool, str], "Service"] = field(default_factory=dict[tuple[str, bool, str], "Service"])

    @property
    def owner(self) -> str:
        """Whose is what is sent to it."""
        return self.asker or FIRST

    def seen_by(self, caller: Caller) -> "Service":
        """The same service as a caller sees it: what is another owner's is not there, and what its key says holds."""
        owner = caller.owner
        if owner is None:
            return self
        may_hurry = "admin" in caller.scopes
        whose = owner, may_hurry, caller.key_id if caller.webhook or caller.limits != NO_LIMITS else ""
        if whose not in self._views:
            if len(self._views) >= REMEMBERED:
                self._views.clear()
            parts = (self.storage, self.redis, self.settings, owner)
            ledger, uploads = Ledger(*parts, self.ledger.following), Uploads(*parts)
            self._views[whose] = replace(
                self,
                asker=owner,
                may_hurry=may_hurry,
                ledger=ledger,
                reading=FastReading(self.scripts, ledger, owner),
                catalog=OwnCatalog(self.storage, self.redis, owner),
                uploads=uploads,
                downloads=Downloads(self.storage, self.redis, uploads, self.outgoing),
                resumables=Resumables(self.storage, owner),
                webhooks=Webhooks(self.storage, self.redis, owner),
                trainings=Trainings(*parts),
                pictures=Pictures(self.storage, owner),
                datasets=Datasets(self.storage, owner),
                limits=Limits(self.redis, self.settings, owner, caller.key_id, caller.limits),
                webhook=caller.webhook,
            )
        return self._views[whose]


def build(settings: Settings) -> Service:
    """Put the parts together; raises BadSettings without a Redis URL."""
    shutter = Shutter()
    redis = connect(settings, shutter=shutter)
    storage = Storage(settings.store_url)
    async_redis = connect_async(settings)
    scripts = Scripts(connect_async(settings, shutter))
    outgoing, uploads, resumables = Outgoing(redis), Uploads(storage, redis, settings), Resumables(storage)
    sources, downloads = sources_of(settings), Downloads(storage, redis, uploads, outgoing)
    webhooks, signer, keyring = Webhooks(storage, redis), Signer(storage), Keyring(storage)
    links, callers = Links(signer, settings.signed_url_s), Callers(keyring, signer)
    ledger, trainings = Ledger(storage, redis, settings), Trainings(storage, redis, settings)
    return Service(
        settings=settings,
        redis=redis,
        async_redis=async_redis,
        scripts=scripts,
        storage=storage,
        ledger=ledger,
        reading=FastReading(scripts, ledger),
        hub=Hub(async_redis, lambda one: ledger.end(one) or trainings.end(one)),
        catalog=Catalog(storage, redis),
        profiles=Profiles(storage, settings),
        liveness=Liveness(redis, settings, claim=partial(claim, storage, redis)),
        uploads=uploads,
        downloads=downloads,
        resumables=resumables,
        sources=sources,
        webhooks=webhooks,
        outgoing=outgoing,
        courier=Courier(
            outgoing,
            {
                RESUMABLE: Assembling(resumables, uploads),
                DOWNLOAD: Downloading(downloads, uploads, sources, settings),
                WEBHOOK: Delivering(
                    webhooks,
                    ledger,
                    sources.fetcher,
                    partial(webhook_secret, signer, settings),
                    partial(seen_from_outside, settings, lambda: callers.needed or keyring.ring().needed, links),
                ),
                START: Starting(ledger),
                KEEP: Keeping(storage, redis, settings),
                INDEX: Gathering(ledger),
            },
        ),
        trainings=trainings,
        pictures=Pictures(storage),
        datasets=Datasets(storage),
        limits=Limits(redis, settings),
        usage=Usage(storage, ledger.following),
        moderation=Moderation(settings, partial(webhook_secret, signer, settings), sources.fetcher),
        callers=callers,
        links=links,
        signer=signer,
    )


def seen_from_outside(
    settings: Settings, needed: Callable[[], bool], links: Links, generation: Generation
) -> Generation:
    """Return a generation whose pictures' addresses are as an answer has them, where nobody has asked for one.

    needed: whether every request needs a key.
    """
    prefix = settings.public_url or settings.root_path
    return placed(generation, Place(prefix, links if needed() else None))


def sources_of(settings: Settings) -> Sources:
    """Return what finds files of other hosts."""
    return Sources(
        Fetcher(settings.fetch_allow),
        settings.hub_url.rstrip("/"),
        settings.civitai_url.rstrip("/"),
        settings.hub_token,
        settings.civitai_token,
    )


def service_of(request: Request) -> Service:
    """The service as whoever sent a request sees it."""
    service, caller = cast(Service, request.app.state.service), cast(Caller | None, request.scope.get(CALLER))
    return service if caller is None else service.seen_by(caller)


async def _service(request: Request) -> Service:  # async: what is not takes a thread for it
    return service_of(request)


ServiceDep = Annotated[Service, Depends(_service)]


def as_owner(service: Service, asked: Request, owner: str | None) -> Service:
    """The service as an owner sees it whose things the caller may look at; raises Forbidden."""
    named = FIRST if owner == FIRST_SAID else owner
    if named is None or named == service.owner:
        return service
    caller = cast(Caller, asked.scope[CALLER])
    if "admin" not in caller.scopes:
        raise Forbidden("scope_missing", f"what is {owner}'s needs the scope admin, and the key has not got it")
    return service.seen_by(replace(caller, owner=named))
