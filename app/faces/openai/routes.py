"""`/openai/v1`: pictures drawn, and the models that can be named, adapters among them."""

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.accepting.fast_acceptance import accept
from app.accepting.generations import profile_of
from app.deps import Service, ServiceDep
from app.faces.adapter_shapes import of_model
from app.faces.openai.answers import NO_TOKENS, facts, file_of
from app.faces.openai.editing import read
from app.faces.openai.request import ImageRequest, translated
from app.faces.openai.streaming import streamed
from app.faces.pictures import address
from app.faces.waiting import drawn
from app.http.faults import refusal
from app.http.places import Place, Prefix
from app.http.routing import Router
from app.routes.events import admitted
from app.shared.discretion import hide
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.generation import GenerationRequest

router = Router(prefix="/openai/v1", include_in_schema=False)


@router.post("/images/generations")
async def generate(body: ImageRequest, service: ServiceDep, place: Prefix, request: Request) -> Response:
    """Draw, and answer once it is drawn; whoever goes away has it canceled."""
    hide([body.prompt, body.negative_prompt])
    return await _answer("image_generation", body, translated(body), service, place, request)


@router.post("/images/edits")
async def edit(service: ServiceDep, place: Prefix, request: Request) -> Response:
    """Change a picture, or several that a base is shown; else as `generate`."""
    body, asked = await read(service, request)
    return await _answer("image_edit", body, asked, service, place, request)


async def _answer(
    kind: str, body: ImageRequest, asked: GenerationRequest, service: Service, place: Place, request: Request
) -> Response:
    ticket = admitted(service) if body.stream else None  # before it is accepted
    generation = await accept(service, asked)
    if ticket is not None:
        return streamed(service, generation, body.partial_images or 0, kind, ticket)
    ended = await drawn(service, generation, request.is_disconnected)
    as_urls = body.response_format == "url"
    data = [
        {"url": address(request, place, image.url)} if as_urls else {"b64_json": await file_of(service, ended, at)}
        for at, image in enumerate(ended.images)
    ]
    return JSONResponse(facts(ended) | {"created": int(ended.created_at.timestamp()), "data": data, "usage": NO_TOKENS})


@router.get("/models")
def models(service: ServiceDep) -> Response:
    """The bases, and of each the adapters that fit it, as `base:adapter`."""
    adapters = [one for one in service.catalog.newest() if one.kind in ("weights", "embedding")]
    data = []
    for profile in service.profiles.ready():
        data.append(_model(profile.name, 0, "radiata"))
        data += [_of_adapter(profile.name, one) for one in adapters if profile.name in one.fits]
    return JSONResponse({"object": "list", "data": data})


@router.get("/models/{name:path}")
def model(name: str, service: ServiceDep) -> Response:
    """One of them, or several adapters on a base (`base:a@0.8+b`)."""
    base, adapters = of_model(name)
    profile = profile_of(service, base)
    found = [service.catalog.resolve(one["ref"]) for one in adapters]
    for one in found:
        if profile.name not in one.fits:
            raise refusal(["model"], "adapter_for_another_base", f"{one.name!r} does not fit {base!r}")
    newest = max((int(one.created_at.timestamp()) for one in found), default=0)
    return JSONResponse(_model(name, newest, "radiata"))


def _of_adapter(base: str, one: AdapterVersion) -> dict[str, Any]:
    return _model(f"{base}:{one.name}", int(one.created_at.timestamp()), one.owner or "first")


def _model(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
