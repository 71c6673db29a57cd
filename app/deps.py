"""The parts that a route may ask for."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.accepting.liveness import Liveness
from app.callers import Callers
from app.fast_reading import FastReading
from app.hub import Hub
from app.outgoing.courier import Courier
from app.outgoing.delivering import Delivering
from app.outgoing.downloading import Downloading
from app.outgoing.starting import KIND as START
from app.outgoing.starting import Starting
from app.scripts import Scripts
from app.shared.catalog import Catalog
from app.shared.connection import Shutter, connect, connect_async
from app.shared.datasets import Datasets
from app.shared.downloads import KIND as DOWNLOAD
from app.shared.downloads import Downloads
from app.shared.fetching.fetcher import Fetcher
from app.shared.fetching.sources import Sources
from app.shared.generations import Ledger
from app.shared.identity import claim
from app.shared.keys import Keyring
from app.shared.outgoing import Outgoing
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads
from app.shared.webhooks import KIND as WEBHOOK
from app.shared.webhooks import Webhooks, webhook_secret


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
    sources: Sources
    webhooks: Webhooks
    outgoing: Outgoing
    courier: Courier
    trainings: Trainings
    pictures: Pictures
    datasets: Datasets
    callers: Callers


def build(settings: Settings) -> Service:
    """Put the parts together; raises BadSettings without a Redis URL."""
    shutter = Shutter()
    redis = connect(settings, shutter=shutter)
    storage = Storage(settings.store_url)
    async_redis = connect_async(settings)
    scripts = Scripts(connect_async(settings, shutter))
    outgoing, uploads = Outgoing(redis), Uploads(storage, redis, settings)
    sources, downloads = sources_of(settings), Downloads(storage, redis, uploads, outgoing)
    webhooks, signer = Webhooks(storage, redis), Signer(storage)
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
        sources=sources,
        webhooks=webhooks,
        outgoing=outgoing,
        courier=Courier(
            outgoing,
            {
                DOWNLOAD: Downloading(downloads, uploads, sources, settings),
                WEBHOOK: Delivering(webhooks, ledger, sources.fetcher, partial(webhook_secret, signer, settings)),
                START: Starting(ledger),
            },
        ),
        trainings=trainings,
        pictures=Pictures(storage),
        datasets=Datasets(storage),
        callers=Callers(Keyring(storage), signer),
    )


def sources_of(settings: Settings) -> Sources:
    """Return what finds files of other hosts, and sends each token to its own."""
    tokens = {settings.hub_url: settings.hub_token, settings.civitai_url: settings.civitai_token}
    known = {urlsplit(url).netloc: token for url, token in tokens.items() if token}
    return Sources(Fetcher(settings.fetch_allow, known), settings.hub_url.rstrip("/"), settings.civitai_url.rstrip("/"))


async def _service(request: Request) -> Service:  # async: what is not takes a thread for it
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(_service)]
