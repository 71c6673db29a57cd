"""Trainings: accept, list, look at, follow, cancel, go on with."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.accepting.fast_acceptance import fingerprint_of
from app.accepting.generations import profile_of
from app.accepting.publishing import staged_checkpoint
from app.accepting.trainings import algorithms, extended, foretell, resolve, resumed
from app.deps import Service, ServiceDep
from app.http.downloads import documented, download
from app.http.places import Place, Prefix
from app.http.places import training_placed as placed
from app.http.routing import BY_NAME, ENDED, FULL, REPEATED, SIGNED_ADDRESS, UNKNOWN, Router, answers
from app.routes.adapters import admitted
from app.routes.events import EventStream, LastEventId, followed
from app.shared.discretion import hide, texts_of_training
from app.shared.errors import Conflict, Newer, NotFound, Unreadable
from app.shared.training_keys import sample_key
from app.shared.trainings import PLACES
from app.shared.wire.adapter import AdapterRecord
from app.shared.wire.training import ForetoldTraining, ResolvedTraining, TrainableAlgorithm, Training, TrainingRequest
from app.shared.wire.upload import Upload
from app.shared.wire.values import Limit, Truth, Whole, Wire

router = Router(prefix="/v1/trainings", tags=["trainings"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]
Keep = Annotated[Truth, Query(description="give what was learned so far its version in the catalog")]
GONE_ON = {409: "It has not ended, or ended otherwise, or the Idempotency-Key was used for another body"}


class TrainingList(BaseModel):
    """Trainings, newest first; `next` is the cursor of the following page, or null."""

    trainings: list[Training]
    next: str | None


class AlgorithmList(BaseModel):
    """The algorithms that are known, with the ranks and learning rates that are usual on a model."""

    model: str | None = Field(description="of which the numbers hold; null where no worker has loaded it yet")
    algorithms: list[TrainableAlgorithm]


class Going(Wire):
    """What one key stands for where a training is gone on with."""

    on: str
    steps: int | None = None


class Checkpoint(Wire):
    """Which checkpoint is meant."""

    step: Whole = Field(ge=1, le=1_000_000, description="one of the training's `checkpoints`")


class Extension(Wire):
    """How much longer is trained."""

    steps: Whole = Field(ge=1, le=1_000_000, description="further steps")


async def _unlogged(body: TrainingRequest) -> TrainingRequest:
    hide(texts_of_training(body))  # in the context of the whole request, which a thread's is a copy of
    return body


@router.post(
    "", status_code=202, responses={200: {"model": ForetoldTraining}, **answers(UNKNOWN, BY_NAME, REPEATED, FULL)}
)
def create(
    body: Annotated[TrainingRequest, Depends(_unlogged)],
    service: ServiceDep,
    response: Response,
    place: Prefix,
    dry_run: Annotated[Truth, Query(description="accept nothing: 200 with what it would be and cost")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Training:
    """Accept a training: it will end, whichever process dies meanwhile."""
    if dry_run:
        return Response(foretell(service, body).model_dump_json(), media_type="application/json")  # type: ignore[return-value]
    return _accepted(service, response, place, idempotency_key, body, lambda: resolve(service, body))


@router.get("", responses=answers(UNKNOWN))
def newest(
    service: ServiceDep,
    place: Prefix,
    limit: Annotated[Limit, Query()] = 50,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> TrainingList:
    """The newest trainings; `before` takes the `next` of the page before."""
    found, cursor = service.trainings.newest(limit, before)
    return TrainingList(trainings=[placed(one, place) for one in found], next=cursor)


@router.get("/algorithms", responses=answers(UNKNOWN))
def known_algorithms(
    service: ServiceDep,
    model: Annotated[str | None, Query(description="on which it is trained; the default one")] = None,
) -> AlgorithmList:
    """Every algorithm that a training may name: what it takes, what it reaches, its options and learning rate."""
    profile = None
    with suppress(Unreadable):  # the algorithms are known without it
        profile = profile_of(service, model) if model else service.profiles.found(service.settings.model)
    return AlgorithmList(model=profile and profile.name, algorithms=list(algorithms(profile)))


@router.get("/{training_id}")
def look(training_id: str, service: ServiceDep, place: Prefix) -> Training:
    """A training as it stands."""
    return placed(service.trainings.get(training_id), place)


def _training(training_id: str, service: ServiceDep) -> Training:
    # Asked before the stream begins: then a 404 can still be said
    return service.trainings.get(training_id)


@router.get("/{training_id}/events", response_class=EventStream)
async def events(
    service: ServiceDep,
    place: Prefix,
    training: Annotated[Training, Depends(_training)],
    last_event_id: LastEventId = None,
) -> EventStream:
    """Everything that happened to a training and what happens next, until it ends."""
    return followed(service, training, last_event_id, place)


@router.get(
    "/{training_id}/samples/{name}",
    response_class=Response,
    responses=documented("image/png"),
    dependencies=[SIGNED_ADDRESS],
)
def sample(
    training_id: Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")],
    name: Annotated[str, PathParameter(pattern=r"^[0-9]{1,7}-[0-9]{1,2}\.png$")],
    service: ServiceDep,
    request: Request,
) -> Response:
    """A sample that was drawn with a checkpoint: `<step>-<sample>.png`."""
    if service.asker is not None:
        service.trainings.get(training_id)  # another's is not there
    step, number = map(int, name.removesuffix(".png").split("-"))
    data = service.storage.get(sample_key(training_id, step, number))
    if data is None:
        raise NotFound("sample_unknown", "there is no such sample; `pictures` of the training says which there are")
    tag = f'"{sha256(data).hexdigest()}"'
    return download(request, tag, len(data), lambda start, end: iter([data[start:end]]), "image/png")


@router.post("/{training_id}/cancel", responses=answers(ENDED))
def cancel(training_id: str, service: ServiceDep, place: Prefix, keep: Keep = False) -> Training:
    """Cancel a training, queued or within a step; its checkpoints stay, and it can be resumed."""
    return _canceled(training_id, service, place, keep)


@router.delete(
    "/{training_id}",
    responses=answers({409: "It has ended and `keep` is asked for, or another training goes on with it"})
    | {204: {"description": "it had ended, or its record could not be read: it is gone, with all that is its own"}},
)
def remove(training_id: str, service: ServiceDep, place: Prefix, keep: Keep = False) -> Training:
    """Cancel a training, as `/cancel` does; one that has ended is removed with its checkpoints and samples."""
    try:
        if keep or not service.trainings.latest(training_id).status.ended:
            return _canceled(training_id, service, place, keep)
        service.trainings.clear_away(training_id)
    except Newer:  # nothing is wrong with it
        raise
    except Unreadable:
        service.trainings.remove(training_id)
    return Response(status_code=204)  # type: ignore[return-value]


@router.post("/{training_id}/resume", status_code=202, responses=answers(GONE_ON, FULL))
def resume(
    training_id: str, service: ServiceDep, response: Response, place: Prefix, idempotency_key: IdempotencyKey = None
) -> Training:
    """Go on with a training that failed or was canceled, from its last checkpoint, as a training of its own."""
    going = Going(on=training_id)
    return _accepted(service, response, place, idempotency_key, going, lambda: resumed(service, training_id))


@router.post("/{training_id}/extend", status_code=202, responses=answers(GONE_ON, FULL))
def extend(
    training_id: str,
    body: Extension,
    service: ServiceDep,
    response: Response,
    place: Prefix,
    idempotency_key: IdempotencyKey = None,
) -> Training:
    """Train longer what has succeeded, from its last checkpoint, as a training of its own."""
    going = Going(on=training_id, steps=body.steps)
    return _accepted(
        service, response, place, idempotency_key, going, lambda: extended(service, training_id, body.steps)
    )


@router.post(
    "/{training_id}/publish",
    status_code=201,
    responses={200: {"model": AdapterRecord}, 202: {"model": Upload}, **answers(REPEATED)},
)
async def publish(
    training_id: str,
    body: Checkpoint,
    service: ServiceDep,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[str | None, Header(description="`respond-async`: answer 202, wait for no verdict")] = None,
) -> AdapterRecord:
    """Give the adapter of a checkpoint a version under the training's name: 201, or 200 where it has one.

    The training may wait, run, or have ended in any way.
    """
    staged = await run_in_threadpool(staged_checkpoint, service, training_id, body.step, idempotency_key)
    return await admitted(service, staged, request, response, prefer)


def _canceled(training_id: str, service: Service, place: Place, keep: bool) -> Training:
    try:
        return placed(service.trainings.cancel(training_id, keep), place)
    except Conflict as error:
        ended = placed(service.trainings.get(training_id), place)
        raise Conflict(error.code, error.message, members={"training": ended.model_dump(mode="json")}) from error


def _accepted(
    service: Service,
    response: Response,
    place: Place,
    idempotency_key: str | None,
    said: Wire,
    resolved: Callable[[], ResolvedTraining],
) -> Training:
    """Accept what is resolved, unless this key was used for the same words before: then it is what was accepted."""
    fingerprint = fingerprint_of(said)
    training = service.trainings.repeat(idempotency_key, fingerprint)
    if training is None:
        request, training_id = resolved(), service.trainings.id_for(idempotency_key)
        dataset = service.datasets.get(request.dataset)
        captions = [one.caption for one in dataset.pictures if one.caption]
        service.moderation.training(request.model_dump(mode="json"), captions, service.owner)
        with service.limits.place(PLACES.name, training_id):
            training = service.trainings.accept(request, training_id, fingerprint)
        service.datasets.keep(dataset)  # it may have been deleted since, by who did not see that it is needed
    response.headers["Location"] = f"/v1/trainings/{training.id}"
    return placed(training, place)
