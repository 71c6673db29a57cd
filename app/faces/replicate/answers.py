"""What answers say: a generation as a prediction, a base as a model with one version."""

from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from app.faces.pictures import address, origin_of
from app.faces.progress_lines import progress_line
from app.faces.replicate.request import Input
from app.http.places import Place
from app.shared.wire.generation import Generation, Status
from app.shared.wire.model import ModelProfile

OWNER = "radiata"
STATUSES = {Status.QUEUED: "starting", Status.RUNNING: "processing"}
CANCELED = "this prediction was canceled before it was drawn"
# Ours -> theirs, of what was asked for
INPUT = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "count": "num_outputs",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "seed": "seed",
    "sampler": "scheduler",
    "init_image": "image",
    "mask_image": "mask",
    "denoise": "prompt_strength",
    "output_format": "output_format",
    "quality": "output_quality",
}


def prediction(one: Generation, request: Request, place: Place, status: str = "") -> dict[str, Any]:
    """A generation as a prediction; status: in place of its own."""
    here = f"{origin_of(request)}{place.prefix}/replicate/v1/predictions/{one.id}"
    asked = {theirs: getattr(one.request, ours) for ours, theirs in INPUT.items()}
    adapters = [{"ref": use.ref, "strength": use.strength} for use in one.request.adapters]
    error = CANCELED if one.status is Status.CANCELED else one.error.message if one.error else None
    done = one.progress.steps if one.status is Status.SUCCEEDED else one.progress.step
    return {
        "id": one.id,
        "model": f"{OWNER}/{one.request.model}",
        "version": one.request.base or one.request.model,
        "status": status or STATUSES.get(one.status, one.status.value),
        "input": {key: value for key, value in asked.items() if value is not None} | {"adapters": adapters},
        "output": [address(request, place, image.url) for image in one.images] or None,
        "logs": progress_line(done, one.progress.steps),
        "error": error,
        "metrics": {"predict_time": one.timings_ms.sample / 1000} if one.timings_ms else {},
        "created_at": one.created_at.isoformat(),
        "started_at": one.started_at.isoformat() if one.started_at else None,
        "completed_at": one.finished_at.isoformat() if one.finished_at else None,
        "urls": {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"},
    }


def page(results: list[dict[str, Any]], following: str | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {"results": results, "next": following, "previous": None}


def model(profile: ModelProfile, request: Request, place: Place) -> dict[str, Any]:
    """A base as a model."""
    nothing = dict.fromkeys(("github_url", "paper_url", "license_url", "cover_image_url", "default_example"))
    return nothing | {
        "url": f"{origin_of(request)}{place.prefix}/",
        "owner": OWNER,
        "name": profile.name,
        "description": f"{profile.name} of this service, with any of its adapters",
        "visibility": "private",
        "run_count": 0,
        "latest_version": version(profile),
    }


def version(profile: ModelProfile) -> dict[str, Any]:
    """The version of a model: the files that its base has now, by their fingerprint."""
    output = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}
    return {
        "id": profile.fingerprint,
        "created_at": datetime.fromtimestamp(0, UTC).isoformat(),  # nobody knows when its files were made
        "cog_version": "0.9.0",
        "openapi_schema": {"components": {"schemas": {"Input": Input.model_json_schema(), "Output": output}}},
    }
