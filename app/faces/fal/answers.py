"""What answers say: a generation as a request of the queue, and as the output of an app."""

from base64 import b64encode
from typing import Any

from fastapi import Request

from app.deps import Service
from app.faces.fal.request import SYNC
from app.faces.pictures import address, file_of, origin_of
from app.faces.progress_lines import progress_line
from app.http.places import Place
from app.routes.images import KINDS
from app.shared.wire.generation import Generation, Status

OWNER = "radiata"
CANCELED = "this request was canceled before it was drawn"


def ticket(one: Generation, request: Request, place: Place) -> dict[str, Any]:
    """Where to ask for a request."""
    here = f"{origin_of(request)}{place.prefix}/fal/queue/{OWNER}/{one.request.model}/requests/{one.id}"
    return {
        "request_id": one.id,
        "gateway_request_id": one.id,
        "response_url": here,
        "status_url": f"{here}/status",
        "cancel_url": f"{here}/cancel",
    }


def standing(one: Generation, request: Request, place: Place, logs: bool) -> dict[str, Any]:
    """The status of a request."""
    said = ticket(one, request, place)
    if one.status is Status.QUEUED:
        return said | {"status": "IN_QUEUE", "queue_position": one.queue_position or 0}
    lines = _logs(one) if logs else None
    if not one.status.ended:
        return said | {"status": "IN_PROGRESS", "logs": lines}
    metrics = {"inference_time": one.timings_ms.sample / 1000} if one.timings_ms else {}
    error: dict[str, Any] = {}
    if one.status is Status.CANCELED:
        error = {"error": CANCELED, "error_type": "canceled"}
    elif one.error:
        error = {"error": one.error.message, "error_type": one.error.code}
    return said | {"status": "COMPLETED", "logs": lines, "metrics": metrics} | error


def _logs(one: Generation) -> list[dict[str, Any]]:
    done = one.progress.steps if one.status is Status.SUCCEEDED else one.progress.step
    line = progress_line(done, one.progress.steps).rstrip("\n")
    when = one.finished_at or one.started_at or one.created_at
    return [{"timestamp": when.isoformat(), "level": "INFO", "message": line}] if line else []


async def output(service: Service, one: Generation, request: Request, place: Place) -> dict[str, Any]:
    """The output of an app."""
    kind = KINDS[one.request.output_format]
    images = []
    for image in one.images:
        url = address(request, place, image.url)
        if SYNC in one.metadata:
            url = f"data:{kind};base64,{b64encode(await file_of(service, one, image.index)).decode()}"
        images.append({"url": url, "width": image.width, "height": image.height, "content_type": kind})
    return {
        "images": images,
        "timings": {"inference": one.timings_ms.sample / 1000} if one.timings_ms else {},
        "seed": one.request.seed,
        "has_nsfw_concepts": [False] * len(images),
        "prompt": one.request.prompt,
    }
