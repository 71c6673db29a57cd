"""Generations on the wire, version 1.

What a caller gives (`GenerationRequest`) and what was made of it when it was accepted (`ResolvedRequest`) are two
types: no `None` that means "the default" survives acceptance.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from app.shared.text import blank, no_control_characters
from app.shared.wire.adapter import AdapterUse, ResolvedAdapter
from app.shared.wire.picture import Fit, PictureIn, Pixels
from app.shared.wire.values import Name, Number, Owner, Sha256, Whole, Wire
from app.shared.wire.webhook import Webhook

MAX_SEED = 2**53 - 1  # the largest integer that every JSON reader keeps exact
SIDE = 8  # pixels of which every width and height is a multiple, whatever the model
StackMode = Literal["sum", "sequential"]
ApplyMode = Literal["merge", "bypass", "recompute"]
Apply = Literal["auto", "merge", "bypass", "recompute"]
AppliedBecause = Literal["asked", "mergeable", "quantised", "no_forward_form", "in_sequence", "never_called", "masked"]
Priority = Literal["high", "normal", "low"]  # the first goes first
Sigmas = Literal["karras", "exponential", "beta", "simple"]
PromptSyntax = Literal["plain", "weighted"]
InpaintArea = Literal["whole", "masked"]
OutputFormat = Literal["png", "webp", "jpeg"]
QUALITY = 90  # of a picture that loses some, where nothing else is said
Denoise = Annotated[Number, Field(gt=0, le=1, allow_inf_nan=False)]
MAX_REFERENCES = 8  # pictures that a model is shown
Edge = Annotated[Whole, Field(ge=8, le=16384, multiple_of=SIDE)]
Offset = Annotated[Whole, Field(ge=0, le=16384)]


class Upscale(Wire):
    """A second pass at a larger size: image to image of the first picture, with a seed derived from its own."""

    scale: Annotated[Number, Field(gt=1, le=4, allow_inf_nan=False)] = Field(
        description="by which width and height are multiplied; they are rounded to multiples that the model draws"
    )
    denoise: Denoise = Field(0.4, description="how much is drawn anew, as the `denoise` of a request")
    method: Literal["lanczos", "latent"] = Field(
        "lanczos", description="what is scaled: the picture, or its latents, which need a `denoise` of at least 0.5"
    )


class Picture(Wire):
    """What is asked for and obeyed as it stands; a field that acceptance has nothing to fill in for belongs here.

    Stored requests are read with it: what only a new request must meet is checked by `GenerationRequest`.
    """

    prompt: str = Field(min_length=1, examples=["a red apple"])
    negative_prompt: str = ""
    stack_mode: StackMode = Field(
        "sum",
        description="`sum`: every adapter's change is taken against the pristine weight, in any order; `sequential`: "
        "each on what the ones before it in the list have left, as ComfyUI and A1111 do",
    )
    apply: Apply = Field(
        "auto",
        description="`merge` into the weights; `bypass`: added to what each layer puts out, for LoRA, LoCon, LoKr and "
        "(IA)³; `recompute`: each changed weight made anew whenever it is needed, for every adapter, slower; `auto`: "
        "merge, but for quantised weights bypass where that is possible, else recompute. They differ in rounding alone",
    )
    sampler: str | None = Field(None, max_length=64, description="a sampler of the model; null is the model's own")
    count: Whole = Field(1, ge=1, description="pictures")
    sigmas: Sigmas | None = Field(
        None,
        description="how the sampler spaces noise levels, as the model's `sampler_sigmas` say; null is its own way",
    )
    prompt_syntax: PromptSyntax = Field(
        "plain",
        description="`plain`: a bracket is a bracket; `weighted`: `(words:1.3)` weighs 1.3, `(words)` 1.1, `\\(` is a "
        "bracket, and bases with `long_prompts` read a prompt of any length, piece by piece (through compel)",
    )
    clip_skip: Whole | None = Field(
        None,
        ge=1,
        description="how many of the last layers of its CLIPs are left out for the prompt, counted as diffusers does: "
        "1 is A1111's `Clip skip: 2` (which is for the negative prompt too); null is none",
    )
    prompt_2: str | None = Field(
        None, min_length=1, description="what the second text encoder reads; null is the same as the first"
    )
    negative_prompt_2: str | None = Field(
        None, min_length=1, description="a negative prompt for the second text encoder; null is the same as the first"
    )
    guidance_rescale: Number | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="how much of the contrast that guidance adds is taken back (arXiv 2305.08891); null is none",
    )
    eta: Number | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="how much noise DDIM adds in each step, with one of the model's `eta_samplers`; null is none",
    )
    original_size: tuple[Pixels, Pixels] | None = Field(
        None,
        description="[width, height] from which the picture is to look scaled (SDXL); null is its own size",
    )
    target_size: tuple[Pixels, Pixels] | None = Field(
        None, description="[width, height] as which the picture is to look (SDXL); null is its own size"
    )
    crops_coords_top_left: tuple[Offset, Offset] | None = Field(
        None, description="[left, top] at which the picture is to look cut out (SDXL); null is [0, 0]"
    )
    init_image: PictureIn | None = Field(
        None, description="a picture to begin from; without `width` and `height` the answer has its size"
    )
    denoise: Denoise | None = Field(
        None,
        description="how much of `init_image` is drawn anew: so much of the steps is drawn, and at 1 nothing of it is "
        "left where it is drawn; null is 0.75 with a picture",
    )
    mask_image: PictureIn | None = Field(
        None,
        description="of the shape of `init_image`, in any size: white is drawn anew, black is kept, bit for bit; grey "
        "is drawn for the last part of the steps alone, as large as it is light",
    )
    mask_blur: Whole = Field(
        0, ge=0, le=256, description="pixels over which the change fades in, inwards from the edge of what is masked"
    )
    fit: Fit = Field(
        "refuse",
        description="what is done with a picture of another size than the drawing: `refuse`, `stretch`, `crop` what is "
        "too much, or `pad` what is missing, which is drawn (with it the answer may have any size)",
    )
    inpaint_area: InpaintArea = Field(
        "whole",
        description="`masked`: only a box around the mask is drawn, at the model's own size, scaled and put back",
    )
    inpaint_padding: Whole = Field(
        32, ge=0, le=4096, description="pixels between the mask and the edges of the box that is drawn"
    )
    upscale: Upscale | None = Field(None, description="a second pass at a larger size; null is none")
    reference_images: list[PictureIn] = Field(
        [], max_length=MAX_REFERENCES, description="pictures that an editing model is shown, each at its own size"
    )
    output_format: OutputFormat = Field(
        "png", description="what the pictures are stored as: `png` loses nothing; the recipe is in each"
    )
    quality: Whole | None = Field(
        None, ge=1, le=100, description=f"of `webp` and `jpeg`: how much of the pixels is kept; null is {QUALITY}"
    )


# Of a picture, what version 0.1 has. Of every other field a profile has to say that it is obeyed, and a recipe leaves
# it out where it is as by default: so the same request gives the same bytes, however many fields are added.
FIRST_FIELDS = frozenset(("prompt", "negative_prompt", "stack_mode", "apply", "sampler", "count"))
TEXTS: tuple[Any, ...] = (str, str | None)  # annotations of fields that a person writes


Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[Word, Text], Field(max_length=16)]


class GenerationRequest(Picture):
    """What a caller asks for; whatever is null or missing is filled in when it is accepted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "a red apple", "seed": 7, "adapters": [{"ref": "fluent-3d-locon", "strength": 0.8}]},
                {"prompt": "purple butterfly", "negative_prompt": "blurred", "count": 2, "priority": "low"},
            ]
        }
    )

    model: Name | None = Field(None, description="a model of `GET /v1/models`; null is its `default`")
    adapters: list[AdapterUse] = []
    width: Edge | None = Field(None, description="pixels, a multiple of 8; null is the model's own size")
    height: Edge | None = Field(None, description="pixels, as `width`")
    steps: Whole | None = Field(None, ge=1, description="denoising steps; null is the model's own number")
    guidance_scale: Number | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="how closely to follow the prompt; null is the model's own"
    )
    seed: Whole | None = Field(
        None, ge=0, le=MAX_SEED, description="picture n is drawn with seed + n; null is a random one"
    )
    priority: Priority = Field(
        "normal",
        description="`high` goes before everything else that waits, and where there are keys it needs one of the scope "
        "`admin`; `low` goes after everything; no pixel depends on it",
    )
    webhook: Webhook | None = Field(None, description="who is called once it has ended; null is nobody")
    metadata: Metadata = Field(
        {}, description="words of your own, given back in every answer; no pixel depends on them"
    )
    start_within_s: Number | None = Field(
        None,
        gt=0,
        le=7 * 24 * 3600,
        allow_inf_nan=False,
        description="seconds within which it has to be begun, or it fails (`not_started_in_time`); null is any time",
    )

    @field_validator(*(name for name, field in Picture.model_fields.items() if field.annotation in TEXTS))
    @classmethod
    def _text_is_printable(cls, text: str | None) -> str | None:
        return text and no_control_characters(text)

    @field_validator("metadata")
    @classmethod
    def _metadata_is_printable(cls, metadata: dict[str, str]) -> dict[str, str]:
        for word, text in metadata.items():
            no_control_characters(word)
            no_control_characters(text)
        return metadata

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if blank(prompt):
            raise ValueError("the prompt has nothing that can be seen; say what to draw")
        return prompt


class ResolvedRequest(Picture):
    """A request with everything filled in: it describes the same pictures for ever."""

    base: str = Field("", description="fingerprint of the base that draws it; empty in old records: any of that name")
    preprocessors: dict[str, list[str]] = Field(
        default={},
        description="kind of map -> fingerprints of the models that make it; without them any do",
    )
    model: str
    adapters: list[ResolvedAdapter]
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int
    drawn: list[int] = Field([], description="steps that are drawn in each pass; empty: all, in one")


class Status(StrEnum):
    """Where a generation is in its life; the last three are its ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)


class Progress(Wire):
    """Denoising steps done, over all pictures of the generation."""

    step: int = 0
    steps: int


class Image(Wire):
    """One picture: where it is, what made it, and the hash of its file."""

    index: int
    url: str
    seed: int
    width: int
    height: int
    sha256: Sha256
    size_bytes: int = Field(default=0, ge=0, description="of its file; 0 in old records")


class Timings(Wire):
    """Milliseconds spent waiting, loading adapters, swapping, sampling and storing."""

    queued: float = 0
    load: float = 0
    swap: float = 0
    sample: float = 0
    store: float = 0
    total: float = 0


class Failure(Wire):
    """Why a generation failed: `code` for programs, `message` for people."""

    code: str
    message: str


class Generation(Wire):
    """One accepted request and its life."""

    id: str
    owner: Owner = Field(default="", description="whose it is; empty: the first owner's")
    status: Status
    priority: Priority = "normal"
    starred: bool = Field(default=False, description="kept whatever its age; `PATCH` sets it")
    metadata: dict[str, str] = {}
    start_by: datetime | None = Field(default=None, description="when it fails where it was not begun")
    queue_position: int | None = Field(
        default=None,
        description="how many go before it, while it waits and is among the first or the last 1,000 of its queue; "
        "elsewhere null",
    )
    progress: Progress
    request: ResolvedRequest
    images: list[Image] = []
    applied: ApplyMode | None = Field(default=None, description="how the adapters were applied, once it has succeeded")
    applied_because: AppliedBecause | None = Field(
        default=None,
        description="why so: `asked` for; every changed weight is `mergeable`; some are `quantised`, and a bypass is "
        "cheapest; an adapter has `no_forward_form` beside, or several are `in_sequence`; one is `masked`; or "
        "the way before did not reach a layer that was `never_called`. A way that `auto` takes too is never `asked`. "
        "Null in old records",
    )
    timings_ms: Timings | None = None
    device_seconds: float = Field(
        default=0, ge=0, description="for which a worker's device swapped adapters and drew, so far or in the end"
    )
    error: Failure | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
