"""`/replicate/v1`: predictions made, looked at, listed, canceled and followed, and the models that draw."""

import re
from contextlib import suppress
from typing import Annotated

from fastapi import Header, Query, Request, Response
from fastapi.responses import JSONResponse

from app.accepting.fast_acceptance import accept
from app.accepting.generations import profile_of
from app.deps import Service, ServiceDep
from app.faces.pictures import origin_of
from app.faces.replicate.answers import OWNER, model, page, prediction, version
from app.faces.replicate.request import PredictionRequest, translated
from app.faces.replicate.streaming import streamed
from app.faces.waiting import canceled
from app.http.faults import refusal
from app.http.places import Place, Prefix
from app.http.routing import Router
from app.http.waiting import awaited
from app.shared.discretion import hide
from app.shared.errors import Conflict, NotFound
from app.shared.wire.model import ModelProfile

router = Router(prefix="/replicate/v1", include_in_schema=False)

WAIT = re.compile(r"wait(?:\s*=\s*([0-9]{1,4}))?", re.IGNORECASE)
MOST_S = 60
PAGE = 50
VERSION = re.compile(r"(?:(?P<owner>[\w.-]+)/(?P<name>[\w.-]+):)?(?P<version>[0-9a-f]{64})")
Prefer = Annotated[str | None, Header()]


@router.post("/predictions")
async def create(
    body: PredictionRequest, service: ServiceDep, place: Prefix, request: Request, prefer: Prefer = None
) -> Response:
    """Make a prediction with a version of a model."""
    if body.version is None:
        raise refusal(["version"], "missing", "name a version, as models.get has it, or POST to a model's predictions")
    return await _made(body, _of_version(service, body.version).name, service, place, request, prefer)


@router.post("/models/{owner}/{name}/predictions")
@router.post("/deployments/{owner}/{name}/predictions")
async def create_with(
    owner: str,
    name: str,
    body: PredictionRequest,
    service: ServiceDep,
    place: Prefix,
    request: Request,
    prefer: Prefer = None,
) -> Response:
    """Make a prediction with a model, or with what is deployed under its name: the same."""
    profile = _known(service, owner, name)
    if body.version is not None and _of_version(service, body.version).fingerprint != profile.fingerprint:
        raise NotFound("version_unknown", f"{owner}/{name} is not of version {body.version[:80]!r}; leave it out")
    return await _made(body, profile.name, service, place, request, prefer)


async def _made(
    body: PredictionRequest, name: str, service: Service, place: Place, request: Request, prefer: str | None
) -> Response:
    """Accept it, and wait as long as is preferred; whoever goes away meanwhile has it canceled."""
    hide([body.input.prompt, body.input.negative_prompt])
    generation, status = await accept(service, translated(body, name)), ""
    if seconds := _wait_of(prefer):
        generation = await awaited(service, generation, seconds, request.is_disconnected) or generation
        if not generation.status.ended:
            status = "starting"  # the client waits on only then
            if await request.is_disconnected():
                await canceled(service, generation)
    return JSONResponse(prediction(generation, request, place, status), 201)


def _wait_of(prefer: str | None) -> int:
    found = WAIT.fullmatch((prefer or "").strip())
    return min(int(found[1] or MOST_S), MOST_S) if found else 0


@router.get("/predictions")
def predictions(
    service: ServiceDep,
    place: Prefix,
    request: Request,
    cursor: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
) -> Response:
    """The newest predictions, however they were asked for; `next` is the address of the page after."""
    found, following = service.ledger.list(PAGE, cursor)
    here = f"{origin_of(request)}{place.prefix}/replicate/v1/predictions?cursor="
    results = [prediction(one, request, place) for one in found]
    return JSONResponse(page(results, f"{here}{following}" if following else None))


@router.get("/predictions/{generation_id}")
async def look(generation_id: str, service: ServiceDep, place: Prefix, request: Request) -> Response:
    """A prediction as it stands."""
    found = (await service.reading.get(generation_id)).generation
    return JSONResponse(prediction(found, request, place))


@router.post("/predictions/{generation_id}/cancel")
def cancel(generation_id: str, service: ServiceDep, place: Prefix, request: Request) -> Response:
    """Cancel a prediction; one that has ended is answered as it is."""
    with suppress(Conflict):
        service.ledger.cancel(generation_id)
    return JSONResponse(prediction(service.ledger.get(generation_id), request, place))


@router.get("/predictions/{generation_id}/stream")
async def stream(generation_id: str, service: ServiceDep, place: Prefix, request: Request) -> Response:
    """What happens to a prediction, until it ends."""
    found = (await service.reading.get(generation_id)).generation
    return streamed(service, found, request, place)


@router.get("/models")
def models(service: ServiceDep, place: Prefix, request: Request) -> Response:
    """The bases that draw."""
    return JSONResponse(page([model(one, request, place) for one in service.profiles.ready()]))


@router.get("/models/{owner}/{name}")
def one_model(owner: str, name: str, service: ServiceDep, place: Prefix, request: Request) -> Response:
    """One of them."""
    return JSONResponse(model(_known(service, owner, name), request, place))


@router.get("/models/{owner}/{name}/versions")
def versions(owner: str, name: str, service: ServiceDep) -> Response:
    """The version that it is of now."""
    return JSONResponse(page([version(_known(service, owner, name))]))


@router.get("/models/{owner}/{name}/versions/{version_id}")
def one_version(owner: str, name: str, version_id: str, service: ServiceDep) -> Response:
    """That version, by its id."""
    profile = _known(service, owner, name)
    if profile.fingerprint != version_id:
        raise NotFound(
            "version_unknown", f"{owner}/{name} has no version {version_id[:80]!r} any more; ask for the model"
        )
    return JSONResponse(version(profile))


def _known(service: Service, owner: str, name: str) -> ModelProfile:
    if owner != OWNER:
        raise NotFound(
            "model_unknown", f"there is no model {owner[:80]}/{name[:80]} here; all are {OWNER}'s: {OWNER}/name"
        )
    return profile_of(service, name)


def _of_version(service: Service, said: str) -> ModelProfile:
    """The base whose files are that version; raises NotFound."""
    found = VERSION.fullmatch(said)
    for one in service.profiles.ready() if found else ():
        if found and one.fingerprint == found["version"] and found["name"] in (None, one.name):
            return one
    raise NotFound("version_unknown", f"there is no version {said[:160]!r} here; models.get says which there is")
