"""What a client of Replicate asks for, as a request of ours. docs/faces/replicate.md tells of each field."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from app.faces.adapter_shapes import native
from app.faces.asking import adapters_of, request_of, sampler_of
from app.faces.pictures import picture_in
from app.http.faults import refusal
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.values import Number, Whole, Wire

NO_WEBHOOKS = (
    "no webhook is sent in this API's words; ask again, follow urls.stream, or name one in POST /v1/generations"
)


class Input(Wire):
    """The input of a prediction."""

    prompt: str
    negative_prompt: str | None = None
    width: Whole | None = None
    height: Whole | None = None
    num_outputs: Annotated[Whole, Field(ge=1)] | None = None
    num_inference_steps: Whole | None = None
    guidance_scale: Number | None = None
    scheduler: str | None = None
    seed: Whole | None = None
    image: str | None = None
    mask: str | None = None
    prompt_strength: Number | None = None
    output_format: Literal["png", "webp", "jpg", "jpeg"] | None = None
    output_quality: Annotated[Whole, Field(ge=0, le=100)] | None = None
    lora_weights: str | None = None
    lora_scale: Number | None = None
    extra_lora: str | None = None
    extra_lora_scale: Number | None = None
    hf_loras: list[str] | None = None
    lora_scales: list[Number] | None = None
    adapters: Any = None
    loras: Any = None
    disable_safety_checker: StrictBool | None = None
    go_fast: StrictBool | None = None


class PredictionRequest(Wire):
    """The body of a POST that makes a prediction."""

    version: str | None = None
    input: Input
    stream: StrictBool | None = None
    webhook: str | None = None
    webhook_completed: str | None = None
    webhook_events_filter: list[Literal["start", "output", "logs", "completed"]] | None = None


def translated(body: PredictionRequest, model: str) -> GenerationRequest:
    """Return the request that a prediction means; raise BadRequest with what cannot be honoured."""
    for field in ("webhook", "webhook_completed"):
        if getattr(body, field) is not None:
            raise refusal([field], "not_obeyed", NO_WEBHOOKS)
    asked = body.input
    kept = ("prompt", "negative_prompt", "width", "height", "guidance_scale", "seed")
    kind = "jpeg" if asked.output_format == "jpg" else asked.output_format
    fields: dict[str, Any] = {name: getattr(asked, name) for name in kept} | sampler_of(asked.scheduler)
    if asked.output_quality is not None and kind in ("jpeg", "webp"):
        fields["quality"] = max(asked.output_quality, 1)
    elif asked.output_quality not in (None, 100):
        message = "a PNG loses nothing and has no quality; ask for webp or jpg"
        raise refusal(["input", "output_quality"], "not_obeyed", message, [100])
    pictures = {"init_image": "image", "mask_image": "mask"}
    for ours, theirs in pictures.items():
        if (sent := getattr(asked, theirs)) is not None:
            fields[ours] = picture_in(["input", theirs], sent)
    return request_of(
        fields
        | {
            "model": model,
            "count": asked.num_outputs,
            "steps": asked.num_inference_steps,
            "denoise": asked.prompt_strength,
            "output_format": kind,
            "adapters": _adapters(asked),
        }
    )


def _adapters(asked: Input) -> list[dict[str, Any]]:
    """The adapters that an input names in the ways of Replicate's models, and in ours."""
    found: list[dict[str, Any]] = []
    for name, scale in (("lora_weights", "lora_scale"), ("extra_lora", "extra_lora_scale")):
        path, strength = getattr(asked, name), getattr(asked, scale)
        if path is not None:
            found += native(name, {"path": path} | ({} if strength is None else {"scale": strength}))
        elif strength is not None:
            raise refusal(["input", scale], "not_obeyed", f"{scale} is of {name}, which is not there; name it too")
    names, scales = asked.hf_loras or [], asked.lora_scales
    if scales is not None and len(scales) != len(names):
        message = f"there are {len(scales)} lora_scales for {len(names)} hf_loras; give one for each"
        raise refusal(["input", "lora_scales"], "not_obeyed", message)
    pairs = [{"path": name} for name in names]
    if scales is not None:
        pairs = [{"path": name, "scale": scale} for name, scale in zip(names, scales, strict=True)]
    return found + native("hf_loras", pairs) + adapters_of(asked, "adapters", "loras")
