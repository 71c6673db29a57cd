"""What may be asked for, typed: the fields of a generation, and adapters in the shapes that people write."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Adapters = Mapping[str, float | Mapping[str, Any]] | Sequence[str | Mapping[str, Any]]


class Drawing(TypedDict, total=False):
    """Fields of `POST /v1/generations` besides prompt and adapters; what is left out is as the model has it."""

    model: str | None
    negative_prompt: str
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    seed: int | None
    count: int
    sampler: str | None
    sigmas: Literal["karras", "exponential", "beta", "simple"] | None
    stack_mode: Literal["sum", "sequential"]
    apply: Literal["auto", "merge", "bypass", "recompute"]
    prompt_syntax: Literal["plain", "weighted"]
    clip_skip: int | None
    prompt_2: str | None
    negative_prompt_2: str | None
    guidance_rescale: float | None
    eta: float | None
    original_size: tuple[int, int] | None
    target_size: tuple[int, int] | None
    crops_coords_top_left: tuple[int, int] | None
    init_image: str | None
    denoise: float | None
    mask_image: str | None
    mask_blur: int
    fit: Literal["refuse", "stretch", "crop", "pad"]
    inpaint_area: Literal["whole", "masked"]
    inpaint_padding: int
    upscale: Mapping[str, Any] | None
    reference_images: Sequence[str]
    output_format: Literal["png", "webp", "jpeg"]
    quality: int | None
    priority: Literal["high", "normal", "low"]
    webhook: Mapping[str, Any] | None
    metadata: Mapping[str, str]
    start_within_s: float | None


def request_of(prompt: str, adapters: Adapters | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request."""
    return {"prompt": prompt, "adapters": entries(adapters or ()), **fields}


def batch_of(requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The bodies of several requests, each a mapping with a prompt, adapters in any shape, and fields."""
    return [{**one, "adapters": entries(one.get("adapters") or ())} for one in requests]


def entries(adapters: Adapters) -> list[dict[str, Any]]:
    """Adapters as the service takes them: `{"style": 0.8}`, `{"style": {"strength": 0.8, "blocks": …}}` or a list."""
    if isinstance(adapters, Mapping):
        pairs = adapters.items()
        return [{"ref": ref, **(said if isinstance(said, Mapping) else {"strength": said})} for ref, said in pairs]
    if isinstance(adapters, str):
        raise TypeError(f"adapters: a list or a mapping of names, not the text {adapters!r}")
    return [{"ref": one} if isinstance(one, str) else dict(one) for one in adapters]
