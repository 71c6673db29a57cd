"""Adapters that arguments name by an address: fetched once as `POST /v1/adapters` fetches them, and awaited.

The name that such an adapter gets is made of its address, so that the next request finds it.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from app.callers import Caller
from app.deps import Service
from app.http.faults import refusal
from app.http.receiving import fetch, judge_end
from app.hub import within
from app.shared.errors import AdapterRefused, BadRequest, Forbidden, NotFound, SourceRefused, Unavailable
from app.shared.wire.upload import Upload

LONGEST_S = 100.0  # that a request waits for all of them: the client reads for 120
GLANCE_S = 1.0
MOST = 2048  # characters of an address
SOURCES = ("https://", "http://", "hf:", "civitai:")

Gone = Callable[[], Awaitable[bool]]


class Source(NamedTuple):
    """An address, and where in the arguments it stands."""

    place: list[str | int]
    path: str


def with_names(loras: Any) -> tuple[Any, list[Source]]:
    """Return what `loras` says with a name in place of each address, and the addresses."""
    if not isinstance(loras, list):
        return loras, []
    named: list[Any] = []
    sources: list[Source] = []
    for at, one in enumerate(loras):
        path = one.get("path") if isinstance(one, Mapping) else None
        if isinstance(path, str) and path.startswith(SOURCES):
            sources.append(Source(["loras", at, "path"], path))
            one = {**one, "path": name_of(path)}
        named.append(one)
    return named, sources


async def fetch_all(service: Service, caller: Caller, sources: list[Source], gone: Gone) -> None:
    """Have what lies at each address here under its name; raises BadRequest, Forbidden and Unavailable."""
    until, most = time.monotonic() + LONGEST_S, service.settings.max_adapters
    if len(sources) > most:
        raise refusal(["loras"], "too_many_adapters", f"{len(sources)} adapters are over the limit of {most}")
    for source in sources:
        await _fetch(service, caller, source, until, gone)


def name_of(source: str) -> str:
    """The name of the adapter that lies at an address."""
    return f"fal-{sha256(source.encode()).hexdigest()[:24]}"


async def _fetch(service: Service, caller: Caller, source: Source, until: float, gone: Gone) -> None:
    name = name_of(source.path)
    with suppress(NotFound):
        await run_in_threadpool(service.catalog.resolve, name)
        return
    if "upload" not in caller.scopes:
        message = (
            "what lies at an address is fetched and kept, which needs the scope upload; name an adapter that is here"
        )
        raise Forbidden("scope_missing", message)
    if len(source.path) > MOST:
        raise refusal(source.place, "address_refused", f"this address is longer than {MOST} characters")
    try:
        begun = await run_in_threadpool(_begun, service, name, source.path)
        found = await _awaited(service, begun, until, gone)
        judge_end(found, AdapterRefused)
    except BadRequest as error:  # where it stands, and not what a file of it has
        message = error.message or "the adapter there is refused"
        raise refusal(source.place, error.code, message) from error
    if not found.status.ended:
        await run_in_threadpool(service.downloads.cancel, begun.id)
        raise Unavailable("source_slow", f"what lies at {begun.source} was not here within {LONGEST_S:g} s; ask again")


def _begun(service: Service, name: str, source: str) -> Upload:
    if not service.profiles.ready():
        raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged; try again")
    try:
        return fetch(service, "adapter", source, None, name=name, description="fetched for a request of fal's API")
    except SourceRefused as error:
        raise BadRequest(error.code, error.message) from error


async def _awaited(service: Service, begun: Upload, until: float, gone: Gone) -> Upload:
    """The upload once it has ended, or as it stands when the wait is over."""
    with service.hub.watching(begun.id) as published:
        while True:
            published.clear()
            found = await run_in_threadpool(service.downloads.get, begun.id)
            left = until - time.monotonic()
            if found.status.ended or left <= 0 or service.hub.stopping or await gone():
                return found
            await within(published, min(left, GLANCE_S))
