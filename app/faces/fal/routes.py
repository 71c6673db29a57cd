"""`/fal/run` answers with an app's output, `/fal/queue` with where to ask for it; a base is the app `radiata/name`."""

from contextlib import suppress
from typing import Annotated, Any, Literal, cast

from fastapi import Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.accepting.fast_acceptance import accept
from app.accepting.generations import profile_of
from app.callers import ANYBODY, CALLER, Caller
from app.deps import Service, ServiceDep
from app.faces.fal.answers import OWNER, output, standing, ticket
from app.faces.fal.fetched import fetch_all, with_names
from app.faces.fal.request import FalRequest, seconds_of, translated
from app.faces.fal.streaming import statuses, steps
from app.faces.waiting import drawn, judge
from app.http.faults import refusal
from app.http.places import Prefix
from app.http.routing import Router
from app.routes.events import admitted
from app.shared.discretion import hide
from app.shared.errors import BadRequest, Conflict, NotFound
from app.shared.wire.generation import Generation

router = Router(prefix="/fal", include_in_schema=False)

NO_WEBHOOKS = "no webhook is sent in this API's words; ask for the status, or name one in POST /v1/generations"
Timeout = Annotated[str | None, Header(alias="X-Fal-Request-Timeout")]
QueuePriority = Annotated[Literal["normal", "low"], Header(alias="X-Fal-Queue-Priority")]
Logs = Annotated[Literal["true", "false", "0", "1", "True", "False"], Query()]
Id = "/queue/{owner}/{app}/requests/{generation_id}"


@router.post("/run/{owner}/{app}")
async def run(
    owner: str,
    app: str,
    body: FalRequest,
    service: ServiceDep,
    place: Prefix,
    request: Request,
    timeout: Timeout = None,
) -> Response:
    """Draw, and answer once it is drawn; whoever goes away has it canceled."""
    begun = await _begun(owner, app, body, service, request, timeout)
    ended = await drawn(service, begun, request.is_disconnected)
    return _answer(await output(service, ended, request, place), begun)


@router.post("/run/{owner}/{app}/stream")
async def stream(
    owner: str,
    app: str,
    body: FalRequest,
    service: ServiceDep,
    place: Prefix,
    request: Request,
    timeout: Timeout = None,
) -> Response:
    """Draw, and tell of each step."""
    counted = admitted(service)  # before it is accepted
    return steps(service, await _begun(owner, app, body, service, request, timeout), request, place, counted)


@router.post("/queue/{owner}/{app}")
async def submit(
    owner: str,
    app: str,
    body: FalRequest,
    service: ServiceDep,
    place: Prefix,
    request: Request,
    timeout: Timeout = None,
    priority: QueuePriority = "normal",
    fal_webhook: Annotated[str | None, Query()] = None,
) -> Response:
    """Accept, and say where to ask."""
    if fal_webhook is not None:
        raise refusal(["query", "fal_webhook"], "not_obeyed", NO_WEBHOOKS)
    begun = await _begun(owner, app, body, service, request, timeout, priority)
    return _answer(ticket(begun, request, place) | {"queue_position": begun.queue_position or 0}, begun)


async def _begun(
    owner: str,
    app: str,
    body: FalRequest,
    service: Service,
    request: Request,
    timeout: str | None,
    priority: Literal["normal", "low"] = "normal",
) -> Generation:
    hide([body.prompt, body.negative_prompt])
    if owner != OWNER:
        raise NotFound(
            "model_unknown", f"there is no app {owner[:80]}/{app[:80]} here; all are {OWNER}'s: {OWNER}/name"
        )
    model = profile_of(service, app).name
    loras, sources = with_names(body.loras)  # so that what is wrong with the rest is told before anything is fetched
    asked = translated(body.model_copy(update={"loras": loras}), model, priority, seconds_of(timeout))
    caller = cast(Caller, request.scope.get(CALLER, ANYBODY))
    await fetch_all(service, caller, sources, request.is_disconnected)
    return await accept(service, asked)


@router.get(f"{Id}/status")
async def status(
    owner: str, app: str, generation_id: str, service: ServiceDep, place: Prefix, request: Request, logs: Logs = "false"
) -> Response:
    """How a request stands."""
    found = await _found(service, owner, app, generation_id)
    said = standing(found, request, place, logs.lower() in ("true", "1"))
    return _answer(said, found, 200 if found.status.ended else 202)


@router.get(f"{Id}/status/stream")
async def follow(
    owner: str, app: str, generation_id: str, service: ServiceDep, place: Prefix, request: Request, logs: Logs = "false"
) -> Response:
    """How a request stands, until it is completed."""
    found = await _found(service, owner, app, generation_id)
    return statuses(service, found, request, place, logs.lower() in ("true", "1"))


@router.get(Id)
async def result(
    owner: str, app: str, generation_id: str, service: ServiceDep, place: Prefix, request: Request
) -> Response:
    """The output of a request that is completed."""
    found = await _found(service, owner, app, generation_id)
    if not found.status.ended:
        raise BadRequest("not_ended", "this request is not completed; ask for its status first")
    judge(found)
    return _answer(await output(service, found, request, place), found)


@router.put(f"{Id}/cancel")
async def cancel(owner: str, app: str, generation_id: str, service: ServiceDep) -> Response:
    """Cancel a request; one that has ended says so."""
    found = await _found(service, owner, app, generation_id)
    if not found.status.ended:
        with suppress(Conflict):
            await run_in_threadpool(service.ledger.cancel, generation_id)
            return _answer({"status": "CANCELLATION_REQUESTED"}, found, 202)
    return _answer({"status": "ALREADY_COMPLETED"}, found, 400)


async def _found(service: Service, owner: str, app: str, generation_id: str) -> Generation:
    found = (await service.reading.get(generation_id)).generation
    if (owner, app) != (OWNER, found.request.model):
        raise NotFound("generation_unknown", f"there is no such request of {owner[:80]}/{app[:80]}")
    return found


def _answer(said: dict[str, Any], one: Generation, status_code: int = 200) -> Response:
    return JSONResponse(said, status_code, {"X-Fal-Request-Id": one.id})
