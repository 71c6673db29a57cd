"""What a client of OpenAI's Images API asks for, as a request of ours. docs/faces/openai.md tells of each field."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from app.faces.adapter_shapes import of_model
from app.faces.asking import adapters_of, request_of
from app.http.faults import refusal
from app.shared.wire.generation import GenerationRequest, OutputFormat
from app.shared.wire.values import Number, Whole, Wire

SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
TEXT = 512  # characters that metadata has room for
# Of ours -> what it is called there, where a fault is told
THEIRS = {
    "count": "n",
    "steps": "num_inference_steps",
    "width": "size",
    "height": "size",
    "quality": "output_compression",
    "init_image": "image",
    "reference_images": "image",
    "mask_image": "mask",
}


class ImageRequest(Wire):
    """The body of `POST /images/generations`."""

    prompt: str
    model: str | None = None
    n: Annotated[Whole, Field(ge=1, le=10)] | None = None
    size: str | None = None
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[Whole, Field(ge=0, le=100)] | None = None
    moderation: Literal["low", "auto"] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    style: Literal["vivid", "natural"] | None = None
    stream: bool | None = Field(None, strict=True)
    partial_images: Annotated[Whole, Field(ge=0, le=3)] | None = None
    user: str | None = Field(None, max_length=TEXT)
    safety_identifier: str | None = Field(None, max_length=TEXT)
    # By `extra_body`
    negative_prompt: str | None = None
    seed: Whole | None = None
    num_inference_steps: Whole | None = None
    guidance_scale: Number | None = None
    adapters: Any = None
    lora: Any = None
    loras: Any = None


def translated(asked: ImageRequest) -> GenerationRequest:
    """Return the request that it means; raise BadRequest with the fields that cannot be honoured."""
    if asked.background == "transparent":
        message = "no base here draws a transparent background; leave it out, or ask for opaque"
        raise refusal(["background"], "not_obeyed", message, ["opaque", "auto"])
    if asked.partial_images and not asked.stream:
        raise refusal(["partial_images"], "not_obeyed", "partial images come with stream: true alone; add it", [0])
    base, adapters = of_model(asked.model) if asked.model is not None else (None, [])
    adapters += adapters_of(asked, "adapters", "lora", "loras")
    body: dict[str, Any] = {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "model": base,
        "adapters": adapters,
        "count": asked.n,
        "output_format": asked.output_format,
        "seed": asked.seed,
        "steps": asked.num_inference_steps,
        "guidance_scale": asked.guidance_scale,
        "metadata": {key: value for key in ("user", "safety_identifier") if (value := getattr(asked, key))},
        **_size(asked.size),
    }
    if asked.output_compression is not None and (asked.output_format or "png") != "png":
        body["quality"] = max(asked.output_compression, 1)
    elif asked.output_compression not in (None, 100):
        raise refusal(["output_compression"], "not_obeyed", "a PNG is not compressed so; ask for webp or jpeg", [100])
    return request_of(body)


def _size(size: str | None) -> dict[str, int]:
    if size in (None, "auto"):
        return {}
    found = SIZE.fullmatch(size or "")
    if not found:
        raise refusal(["size"], "invalid_size", f"{(size or '')[:80]!r} is no size; write it as 512x512, or auto")
    return {"width": int(found[1]), "height": int(found[2])}
