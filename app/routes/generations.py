"""Generations: accept, list, look at, cancel, star, delete."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from fastapi import Header, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.accepting.batches import accept_all
from app.accepting.fast_acceptance import accept
from app.deps import Service, ServiceDep, as_owner
from app.fast_reading import Standing
from app.http.faults import refusal
from app.http.places import Place, Prefix, placed
from app.http.routing import BY_NAME, ENDED, FULL, REPEATED, UNKNOWN, Router, answers
from app.http.standing import headers_of
from app.http.waiting import MOST_S, awaited, wait_of
from app.shared.discretion import hide
from app.shared.errors import Conflict, Newer, Unreadable
from app.shared.wanted import Wanted, words
from app.shared.wire.batch import AcceptedBatch, Batch
from app.shared.wire.generation import Generation, GenerationRequest, Status
from app.shared.wire.values import (
    NAME_PATTERN,
    OWNER_PATTERN,
    PAIR_PATTERN,
    REF_PATTERN,
    Limit,
    Moment,
    Seed,
    Truth,
    Wire,
)

router = Router(prefix="/v1/generations", tags=["generations"])

IDS = 100  # that are asked for at once
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]


def _has_words(text: str) -> str:
    if not words(text):
        raise ValueError("there is no letter or digit to look for; say a word of the prompt")
    return text


class GenerationList(BaseModel):
    """Generations, newest first; `next` is the cursor of the following page, or null."""

    generations: list[Generation]
    next: str | None


class Marked(Wire):
    """What is said of a generation whatever becomes of it."""

    starred: bool = Field(strict=True, description="whether it is kept whatever its age")


@router.post(
    "",
    status_code=202,
    response_model=Generation,
    responses={
        200: {"model": Generation, "description": "It was accepted before, and has ended"},
        201: {"model": Generation, "description": "It has ended within the time that `Prefer: wait=N` says"},
        **answers(UNKNOWN, BY_NAME, REPEATED, FULL),
    },
)
async def create(
    body: GenerationRequest,
    service: ServiceDep,
    place: Prefix,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None,
        Header(description=f"`wait=N`: answer once it has ended, after N seconds (at most {MOST_S}) at last"),
    ] = None,
) -> Response:
    """Accept a generation: it will end, whichever process dies meanwhile, and whether or not somebody waits for it."""
    generation, headers, status = await accept(service, body, idempotency_key), {}, 202
    if seconds := wait_of(prefer):
        before = generation.status.ended
        if waited := await awaited(service, generation, seconds, request.is_disconnected):
            generation, headers = waited, {"Preference-Applied": f"wait={seconds}"}
            status = 202 if not waited.status.ended else 200 if before else 201
    text = placed(generation, place).model_dump_json()
    return _json(text, status, {"Location": f"/v1/generations/{generation.id}", **headers})


@router.post(
    "/batch", status_code=202, response_model=AcceptedBatch, responses=answers(UNKNOWN, BY_NAME, REPEATED, FULL)
)
async def create_all(
    body: Batch, service: ServiceDep, place: Prefix, idempotency_key: IdempotencyKey = None
) -> Response:
    """Accept up to 100 generations, all or none; what is wrong is told by pointers such as `/requests/3/steps`.

    The `Idempotency-Key` is that of the whole. Of requests a minute it counts as many as it has.
    """
    standing = await service.limits.further(service.scripts, len(body.requests) - 1)
    generations = await accept_all(service, body, idempotency_key)
    text = AcceptedBatch(generations=[placed(one, place) for one in generations]).model_dump_json()
    return _json(text, 202, headers_of(standing) if standing else None)


@router.get("", response_model=GenerationList, responses=answers(UNKNOWN))
async def newest(
    asked: Request,
    service: ServiceDep,
    place: Prefix,
    ids: Annotated[
        str | None,
        Query(
            pattern=rf"^[0-9a-f]{{32}}(,[0-9a-f]{{32}}){{0,{IDS - 1}}}$",
            description=f"up to {IDS}, with commas: just these, in this order, but for those that are not there",
        ),
    ] = None,
    limit: Annotated[Limit, Query()] = 50,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
    status: Annotated[Literal["queued", "running", "succeeded", "failed", "canceled"] | None, Query()] = None,
    model: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    adapter: Annotated[
        str | None,
        Query(pattern=REF_PATTERN, description="any version of it was used, one version, or these bytes"),
    ] = None,
    starred: Annotated[Truth | None, Query()] = None,
    q: Annotated[
        Annotated[str, AfterValidator(_has_words)] | None,
        Query(max_length=200, description="words of the prompt, in any order, without case and accents"),
    ] = None,
    since: Annotated[Moment | None, Query(description="accepted then or later, as `2026-11-26T22:00:00Z`")] = None,
    until: Annotated[Moment | None, Query(description="accepted before then")] = None,
    seed: Annotated[Seed | None, Query()] = None,
    metadata: Annotated[
        list[Annotated[str, StringConstraints(pattern=PAIR_PATTERN)]] | None,
        Query(max_length=16, description="`name=text`, once for each pair that it has"),
    ] = None,
    owner: Annotated[str | None, Query(pattern=OWNER_PATTERN, description="another's, with the scope `admin`")] = None,
) -> Response:
    """The newest generations, or of those the ones that are asked for; `before` takes the `next` of the page before.

    `ids` are for who follows many: those that are another's, were deleted or never were are left out; `next` is null.
    """
    hide([q])
    if ids is not None:
        return await _those(as_owner(service, asked, owner), asked, ids.split(","), place)
    wanted = Wanted(
        status=None if status is None else Status(status),
        model=model,
        adapter=adapter,
        starred=starred,
        q=q or "",
        since=since,
        until=until,
        seed=seed,
        metadata=_pairs(metadata or ()),
    )
    found, cursor = await as_owner(service, asked, owner).reading.list(limit, before, wanted)
    return _listed(found, cursor, place)


async def _those(service: Service, asked: Request, ids: Sequence[str], place: Place) -> Response:
    """Just these; raises BadRequest where something else is asked for beside them."""
    if other := next((name for name in asked.query_params if name not in ("ids", "owner")), None):
        message = f"ids says which generations are listed; leave {other} out, or ids"
        raise refusal(["query", other], "beside_ids", message)
    return _listed(await service.reading.those(ids), None, place)


def _listed(found: Iterable[Standing], cursor: str | None, place: Place) -> Response:
    rows = ",".join(one.placed(place) for one in found)
    return _json(f'{{"generations":[{rows}],"next":{json.dumps(cursor)}}}')  # a `GenerationList`


def _pairs(said: Sequence[str]) -> dict[str, str]:
    """Names and texts of `name=text`; raises BadRequest for a name that is said twice: none has two texts."""
    found: dict[str, str] = {}
    for at, (name, _, text) in enumerate(one.partition("=") for one in said):
        if name in found:
            raise refusal(["query", "metadata", at], "said_twice", f"{name[:80]!r} is said twice; say it once")
        found[name] = text
    return found


@router.get("/{generation_id}", response_model=Generation)
async def look(generation_id: str, service: ServiceDep, place: Prefix) -> Response:
    """A generation as it stands."""
    return _json((await service.reading.get(generation_id)).placed(place))


@router.post("/{generation_id}/cancel", responses=answers(ENDED))
def cancel(generation_id: str, service: ServiceDep, place: Prefix) -> Generation:
    """Cancel a generation, queued or between two steps; nothing is ever deleted."""
    return _canceled(generation_id, service, place)


@router.patch("/{generation_id}", responses=answers(BY_NAME))
def mark(generation_id: str, said: Marked, service: ServiceDep, place: Prefix) -> Generation:
    """Star a generation, or take its star: what has one is deleted by nobody but who asks for it."""
    return placed(service.ledger.star(generation_id, said.starred), place)


@router.delete(
    "/{generation_id}",
    responses=answers(BY_NAME, ENDED)
    | {204: {"description": "it had ended, or its record could not be read: it is gone, with its pictures"}},
)
def remove(generation_id: str, service: ServiceDep, place: Prefix) -> Generation:
    """Cancel a generation, as `/cancel` does; one that has ended is deleted with its pictures: 204, and 410 for a week.

    A second DELETE of one that was canceled therefore deletes it.
    """
    try:
        service.ledger.delete(generation_id)
    except Conflict:
        return _canceled(generation_id, service, place)
    except Newer:  # nothing is wrong with it
        raise
    except Unreadable:
        service.ledger.remove(generation_id)
    return Response(status_code=204)  # type: ignore[return-value]


def _canceled(generation_id: str, service: Service, place: Place) -> Generation:
    try:
        return placed(service.ledger.cancel(generation_id), place)
    except Conflict as error:
        ended = placed(service.ledger.get(generation_id), place)
        members = {"generation": ended.model_dump(mode="json")}
        raise Conflict(error.code, error.message, members=members) from error


def _json(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # As FastAPI would, which checks once more that an answer is what it is
    return Response(text, status, headers, "application/json")
