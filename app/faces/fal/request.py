"""What a client of fal asks for, as a request of ours. docs/faces/fal.md tells of each field."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from app.faces.asking import adapters_of, request_of, sampler_of
from app.faces.pictures import picture_in
from app.http.faults import refusal
from app.shared.wire.generation import GenerationRequest, Priority
from app.shared.wire.values import Number, Whole, Wire

SYNC = "fal_sync_mode"  # in the metadata of one whose pictures are answered as data URLs
# Sizes by name: width and height
SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


class ImageSize(Wire):
    """A size that has no name."""

    width: Whole
    height: Whole


class FalRequest(Wire):
    """The arguments of an app."""

    prompt: str
    negative_prompt: str | None = None
    image_size: Literal[*SIZES] | ImageSize | None = None  # type: ignore[valid-type]
    num_inference_steps: Whole | None = None
    guidance_scale: Number | None = None
    seed: Whole | None = None
    num_images: Annotated[Whole, Field(ge=1)] | None = None
    output_format: Literal["jpeg", "png", "webp"] = "jpeg"
    scheduler: str | None = None
    image_url: str | None = None
    mask_url: str | None = None
    strength: Number | None = None
    loras: Any = None
    adapters: Any = None
    sync_mode: StrictBool = False
    enable_safety_checker: StrictBool | None = None
    acceleration: str | None = None


def translated(
    asked: FalRequest, model: str, priority: Priority = "normal", start_within_s: float | None = None
) -> GenerationRequest:
    """Return the request that these arguments mean; raise BadRequest with what cannot be honoured."""
    fields: dict[str, Any] = sampler_of(asked.scheduler)
    if isinstance(asked.image_size, ImageSize):
        fields |= asked.image_size.model_dump()
    elif asked.image_size is not None:
        fields |= dict(zip(("width", "height"), SIZES[asked.image_size], strict=True))
    for ours, theirs in {"init_image": "image_url", "mask_image": "mask_url"}.items():
        if (sent := getattr(asked, theirs)) is not None:
            fields[ours] = picture_in([theirs], sent)
    kept = ("prompt", "negative_prompt", "guidance_scale", "seed", "output_format")
    return request_of(
        fields
        | {name: getattr(asked, name) for name in kept}
        | {
            "model": model,
            "count": asked.num_images,
            "steps": asked.num_inference_steps,
            "denoise": asked.strength,
            "adapters": adapters_of(asked, "adapters", "loras"),
            "priority": priority,
            "start_within_s": start_within_s,
            "metadata": {SYNC: "1"} if asked.sync_mode else {},
        }
    )


def seconds_of(header: str | None) -> float | None:
    """The seconds that `X-Fal-Request-Timeout` allows before it is begun; raises BadRequest."""
    if header is None:
        return None
    try:
        return float(header)
    except ValueError:
        message = f"{header[:80]!r} is no number of seconds"
        raise refusal(["header", "X-Fal-Request-Timeout"], "invalid_number", message) from None
