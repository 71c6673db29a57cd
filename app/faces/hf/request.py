"""What `InferenceClient` asks for, as a request of ours. docs/faces/huggingface.md tells of each field."""

from typing import Annotated, Any

from pydantic import Field, StrictBool

from app.faces.adapter_shapes import of_model
from app.faces.asking import adapters_of, request_of, sampler_of
from app.faces.pictures import kind_of, picture_in
from app.http.faults import refusal
from app.shared.wire.generation import GenerationRequest, OutputFormat
from app.shared.wire.values import Number, Whole, Wire

NO_PROMPT = "say what to draw: image_to_image needs a prompt here, beside the picture"
ACCEPTED: dict[str, OutputFormat] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/webp": "webp",
    "image/*": "png",
    "*/*": "png",
}


class TargetSize(Wire):
    """The size of what image_to_image draws."""

    width: Whole
    height: Whole


class Parameters(Wire):
    """What may stand beside the inputs."""

    prompt: str | None = None
    negative_prompt: str | None = None
    width: Whole | None = None
    height: Whole | None = None
    target_size: TargetSize | None = None
    num_inference_steps: Whole | None = None
    guidance_scale: Number | None = None
    scheduler: str | None = None
    seed: Whole | None = None
    strength: Number | None = None
    # By `extra_body`, and by further arguments of image_to_image
    mask_image: str | None = None
    fit: str | None = None
    clip_skip: Whole | None = None
    guidance_rescale: Number | None = None
    eta: Number | None = None
    num_images_per_prompt: Annotated[Whole, Field(ge=1, le=1)] | None = None
    output_format: OutputFormat | None = None
    quality: Whole | None = None
    adapters: Any = None
    lora: Any = None
    loras: Any = None


class Options(Wire):
    """Of the first version of the API: both are so anyway."""

    use_cache: StrictBool | None = None
    wait_for_model: StrictBool | None = None


class InferenceRequest(Wire):
    """The body of a call."""

    inputs: str
    parameters: Parameters = Parameters()
    options: Options = Options()


def translated(asked: InferenceRequest, model: str | None, accept: str) -> GenerationRequest:
    """Return the request that a call means; raise BadRequest with what cannot be honoured.

    model: the name in the address. accept: the headers of that name, joined.
    """
    said = asked.parameters
    base, adapters = of_model(model) if model is not None else (None, [])
    image = _picture(asked)
    if said.target_size and (said.width or said.height):
        raise refusal(["parameters", "target_size"], "said_twice", "target_size says it, and so do width and height")
    size = said.target_size or said
    kept = ("negative_prompt", "seed", "guidance_scale", "fit", "clip_skip", "guidance_rescale", "eta", "quality")
    return request_of(
        {name: getattr(said, name) for name in kept}
        | {
            "prompt": asked.inputs if image is None else said.prompt,
            "model": base,
            "adapters": adapters + adapters_of(said, "adapters", "lora", "loras"),
            "width": size.width,
            "height": size.height,
            "steps": said.num_inference_steps,
            "output_format": _format(said, accept),
            "init_image": image,
            "denoise": said.strength,
            "mask_image": said.mask_image and picture_in(["parameters", "mask_image"], said.mask_image),
        }
        | sampler_of(said.scheduler)
    )


def _picture(asked: InferenceRequest) -> str | None:
    """The picture that `inputs` is, where there is a prompt beside it; else `inputs` is the prompt."""
    if asked.parameters.prompt is not None:
        return picture_in(["inputs"], asked.inputs)
    if kind_of(asked.inputs) and len(asked.inputs) > 64:  # longer than any word of a prompt
        raise refusal(["parameters", "prompt"], "missing", NO_PROMPT)
    return None


def _format(said: Parameters, accept: str) -> OutputFormat:
    """How the picture is to be written: as `output_format` says, or else the header."""
    if said.output_format:
        return said.output_format
    kinds = [one.partition(";")[0].strip().lower() for one in (accept or "*/*").split(",")]
    for one in kinds:
        if one in ACCEPTED:
            return ACCEPTED[one]
    known = ", ".join(ACCEPTED)
    raise refusal(["header", "accept"], "not_obeyed", f"pictures are answered as {known}", list(ACCEPTED))
