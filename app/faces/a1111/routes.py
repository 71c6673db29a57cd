"""`/sdapi/v1`: drawing and what is asked of it while it is drawn."""

import time
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.accepting.fast_acceptance import accept
from app.deps import Service, ServiceDep
from app.faces.a1111 import options as kept
from app.faces.a1111.answers import WHEN, answer
from app.faces.a1111.living import living
from app.faces.a1111.pictures import written_in
from app.faces.a1111.request import ImageToImage, TextToImage
from app.faces.a1111.translating import called, translated
from app.faces.waiting import canceled, drawn
from app.http.faults import refusal
from app.http.routing import Router
from app.shared.discretion import hide
from app.shared.errors import BadRequest, RadiataError
from app.shared.infotext import read
from app.shared.previews import DATA_URL, Viewer
from app.shared.wire.generation import Generation, Status
from app.shared.wire.values import Truth, Wire

router = Router(prefix="/sdapi/v1", include_in_schema=False)

NO_JOB = {"skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0}
NO_JOB |= {"job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0}


class PngInfo(Wire):
    """The body of `POST /png-info`."""

    image: Annotated[str, Field(min_length=1)]


async def _text_unlogged(asked: TextToImage) -> TextToImage:
    hide([asked.prompt, asked.negative_prompt])
    return asked


async def _image_unlogged(asked: ImageToImage) -> ImageToImage:
    hide([asked.prompt, asked.negative_prompt])
    return asked


@router.post("/txt2img")
async def txt2img(
    asked: Annotated[TextToImage, Depends(_text_unlogged)], service: ServiceDep, request: Request
) -> Response:
    """Draw, and answer once it is drawn; whoever goes away has it canceled."""
    return await _drawn(asked, service, request)


@router.post("/img2img")
async def img2img(
    asked: Annotated[ImageToImage, Depends(_image_unlogged)], service: ServiceDep, request: Request
) -> Response:
    """The same, from a picture."""
    return await _drawn(asked, service, request)


async def _drawn(asked: TextToImage, service: Service, request: Request) -> Response:
    try:
        generation = await accept(service, await run_in_threadpool(translated, service, asked))
    except RadiataError as error:
        reasons = (
            {**one, "pointer": called(one["pointer"], asked)} if "pointer" in one else one for one in error.reasons
        )
        error.reasons = tuple(reasons)
        raise
    return JSONResponse(await answer(service, await drawn(service, generation, request.is_disconnected), asked))


@router.get("/progress")
async def progress(
    service: ServiceDep,
    skip_current_image: Annotated[Truth, Query()] = False,
    id_task: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    """How far the caller's job is, with a preview unless that is skipped."""
    job = await run_in_threadpool(living, service, id_task)
    if job is None:
        return JSONResponse(
            {"progress": 0.0, "eta_relative": 0.0, "state": NO_JOB, "current_image": None}
            | {"textinfo": None, "current_task": None}
        )
    preview = None if skip_current_image else await Viewer(service.async_redis, job.id).newest()
    shown = str(preview.data["data"]).removeprefix(DATA_URL) if preview else None
    share = job.progress.step / job.progress.steps
    return JSONResponse(
        {
            "progress": share,
            "eta_relative": _left_s(job, share),
            "state": _state(job),
            "current_image": shown,
            "textinfo": None if job.status is Status.RUNNING else "In queue...",
            "current_task": job.metadata.get("task") or job.id,
        }
    )


def _left_s(job: Generation, share: float) -> float:
    if job.started_at is None or share <= 0:
        return 0.0
    return max(time.time() - job.started_at.timestamp(), 0.0) * (1 - share) / share


def _state(job: Generation) -> dict[str, Any]:
    of_one = job.progress.steps // job.request.count
    return NO_JOB | {
        "job": job.id,
        "job_count": job.request.count,
        "job_timestamp": job.created_at.strftime(WHEN),
        "job_no": min(job.progress.step // of_one, job.request.count - 1) if of_one else 0,
        "sampling_step": job.progress.step % of_one if of_one else 0,
        "sampling_steps": of_one,
    }


@router.post("/interrupt")
async def interrupt(service: ServiceDep) -> Response:
    """Cancel the caller's job, if there is one."""
    if job := await run_in_threadpool(living, service):
        await canceled(service, job)
    return JSONResponse({})


@router.post("/skip")
async def skip(service: ServiceDep) -> Response:
    """Cancel the caller's job of one picture; of several none is left out."""
    job = await run_in_threadpool(living, service)
    if job and job.request.count > 1:
        message = "of several pictures none is left out; /sdapi/v1/interrupt cancels all of them"
        raise BadRequest("not_obeyed", message)
    if job:
        await canceled(service, job)
    return JSONResponse({})


@router.get("/options")
def options(service: ServiceDep) -> Response:
    """What is in force for whoever asks."""
    return JSONResponse(kept.options(service))


@router.post("/options")
def set_options(said: dict[str, Any], service: ServiceDep) -> Response:
    """Choose the base that is drawn with where a request names none, for whoever asks alone."""
    kept.choose(service, said)
    return JSONResponse({})


@router.post("/png-info")
async def png_info(asked: PngInfo, service: ServiceDep) -> Response:
    """What a picture says of how it was made."""
    found = await written_in(service, asked.image)
    hide([found.infotext])
    said = read(found.infotext)
    parameters: dict[str, Any] = {"Prompt": said.prompt, "Negative prompt": said.negative_prompt, **said.fields}
    items = {"parameters": found.infotext} if found.infotext else {}
    items |= {"radiata": found.recipe} if found.recipe else {}
    return JSONResponse({"info": found.infotext, "items": items, "parameters": parameters if found.infotext else {}})


@router.post("/extra-single-image")
@router.post("/extra-batch-images")
@router.post("/interrogate")
def elsewhere(_: dict[str, Any]) -> Response:
    """What this service does not do."""
    message = "pictures are not upscaled or described here; draw at a larger size, or with hires fix (enable_hr)"
    raise refusal([], "not_obeyed", message)
