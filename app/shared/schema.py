"""The wire, version 1: what crosses HTTP, the queue and storage, all frozen JSON.

What a caller gives (`GenerationRequest`) and what was made of it when it was accepted (`ResolvedRequest`) are two
types: no `None` that means "the default" survives acceptance.
"""

import re
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    field_validator,
    model_validator,
)

from app.shared.text import blank, no_control_characters

MAX_SEED = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_PARTS = 64  # blocks or steps that one adapter's strength may be divided into
MAX_RANK = 4096
SIDE = 8  # pixels of which every width and height is a multiple, whatever the model
NO_ADAPTERS = ("sha256", "uploads")  # words that mean something else where an adapter's name may stand
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
REF_PATTERN = r"^(sha256:[0-9a-f]{64}|[a-z0-9][a-z0-9._-]{0,63}(:[1-9][0-9]{0,8})?)$"


def _digits(value: Any) -> Any:
    # Of an address, where everything is text: 10, and not " 1_0 "
    return int(value) if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,17}", value) else value


# Numbers of the wire are strict: never true, never "1"
Limit = Annotated[int, Strict(), Field(ge=1, le=200), BeforeValidator(_digits)]  # of a list, in a query
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Ref = Annotated[str, StringConstraints(pattern=REF_PATTERN)]
Component = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Strength = Annotated[Number, Field(ge=-20, le=20, allow_inf_nan=False)]
Block = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}(\.[A-Za-z0-9_]{1,64}){0,15}$")]
Fraction = Annotated[Number, Field(ge=0, lt=1, allow_inf_nan=False)]
StackMode = Literal["sum", "sequential"]
ApplyMode = Literal["merge", "bypass"]  # into the weights, or added to what a layer puts out
Apply = Literal["auto", "merge", "bypass"]
Priority = Literal["high", "normal", "low"]  # the first goes first
Edge = Annotated[Whole, Field(ge=8, le=16384, multiple_of=SIDE)]


class Wire(BaseModel):
    """Frozen, and strict about fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def no_word_of_ours(name: str) -> str:
    """`name` unchanged; raises ValueError where nobody could ask for an adapter of that name."""
    if name in NO_ADAPTERS:
        raise ValueError(f"{name!r} means something else in an address; choose another name")
    return name


def denoises(component: str) -> bool:
    """Tell whether a component is run at every step; the text encoders read the prompt once, before the first."""
    return not component.startswith("text_encoder")


AdapterName = Annotated[Name, AfterValidator(no_word_of_ours)]


class AdapterSettings(Wire):
    """How much of an adapter is applied, where and when: what is asked for is what is resolved."""

    ref: Ref = Field(description="`name`, `name:version` or `sha256:<64 hex>`", examples=["fluent-3d-locon"])
    strength: Strength = Field(1.0, description="0 is nothing, 1 is as trained")
    strengths: dict[Component, Strength] = Field(
        {}, description="strength by component, over `strength`", examples=[{"unet": 0.8}]
    )
    blocks: dict[Block, Strength] = Field(
        {},
        max_length=MAX_PARTS,
        description="factors of the strength by block of the model (`down`, `mid`, `up.1`: `blocks` of `GET "
        "/v1/models`) or of a part of one (`up.1.attentions`); the longest that fits counts, elsewhere it is 1",
        examples=[{"down": 0.5, "mid": 1.0, "up.1": 0.3}],
    )
    schedule: list[tuple[Fraction, Strength]] = Field(
        [],
        max_length=MAX_PARTS,
        description="strength on the denoiser step by step, in place of `strength`: pairs of the fraction of the "
        "denoising from which on it holds, rising from 0, and the strength",
        examples=[[[0.0, 0.2], [0.6, 1.0]]],
    )
    rank: Whole | None = Field(
        None,
        ge=1,
        le=MAX_RANK,
        description="apply only the first ranks of its LoRA layers, that many, as a DyLoRA is trained to be used; "
        "layers with at most that many, and layers of other algorithms, are applied whole",
    )


class AdapterUse(AdapterSettings):
    """An adapter as a request names it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ref": "fluent-3d-locon",
                    "strength": 0.8,
                    "blocks": {"down": 0.5, "mid": 1.0, "up.1": 0.3},
                    "schedule": [[0.0, 0.2], [0.6, 1.0]],
                },
                {"ref": "fluent-3d-loha", "strengths": {"unet": 0.8}},
            ]
        }
    )

    @field_validator("schedule")
    @classmethod
    def _rises_from_0(cls, schedule: list[tuple[float, float]]) -> list[tuple[float, float]]:
        fractions = [fraction for fraction, _ in schedule]
        if fractions and fractions[0] != 0:
            raise ValueError("the first fraction must be 0: begin with [0.0, strength]")
        if any(after <= before for before, after in pairwise(fractions)):
            raise ValueError("the fractions must rise; put them in order and name each once")
        return schedule

    @model_validator(mode="after")
    def _one_strength_for_the_denoiser(self) -> Self:
        if self.schedule and (twice := sorted(filter(denoises, self.strengths))):
            raise ValueError(f"schedule and strengths both give the strength on {', '.join(twice)}; leave one out")
        return self


class ResolvedAdapter(AdapterSettings):
    """An adapter as it was resolved: the bytes are fixed, whatever is uploaded later."""

    name: str
    version: int
    sha256: Sha256
    ignore: list[str] = []


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
        "(IA)³; `auto`: merge, but bypass for quantised weights. The two differ in rounding alone",
    )
    sampler: str | None = Field(None, max_length=64, description="a sampler of the model; null is the model's own")
    count: Whole = Field(1, ge=1, description="pictures")


TEXTS: tuple[Any, ...] = (str, str | None)  # annotations of fields that a person writes


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

    model: Name | None = Field(None, description="a model of `GET /v1/models`; null is the first of them")
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
        "normal", description="`high` goes before everything else that waits, `low` after it; no pixel depends on it"
    )

    @model_validator(mode="after")
    def _sequences_are_merged(self) -> Self:
        if self.apply == "bypass" and self.stack_mode == "sequential" and len(self.adapters) > 1:
            raise ValueError("several adapters in sequence can only be merged; ask for one of the two")
        return self

    @field_validator(*(name for name, field in Picture.model_fields.items() if field.annotation in TEXTS))
    @classmethod
    def _text_is_printable(cls, text: str | None) -> str | None:
        return text and no_control_characters(text)

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if blank(prompt):
            raise ValueError("the prompt has nothing that can be seen; say what to draw")
        return prompt


class ResolvedRequest(Picture):
    """A request with everything filled in: it describes the same pictures for ever."""

    base: str = Field("", description="fingerprint of the base that draws it; empty in old records: any of that name")
    model: str
    adapters: list[ResolvedAdapter]
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int


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
    """One picture: where it is, what made it, and the hash of its PNG file."""

    index: int
    url: str
    seed: int
    width: int
    height: int
    sha256: Sha256


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
    status: Status
    priority: Priority = "normal"
    queue_position: int | None = Field(
        None,
        description="how many go before it, while it waits and is among the first or the last 1,000 of its queue; "
        "elsewhere null",
    )
    progress: Progress
    request: ResolvedRequest
    images: list[Image] = []
    applied: ApplyMode | None = Field(default=None, description="how the adapters were applied, once it has succeeded")
    timings_ms: Timings | None = None
    error: Failure | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class AdapterVersion(Wire):
    """One version of a name: which bytes, and what its uploader said of them. Never changes."""

    name: Name
    version: int
    sha256: Sha256
    description: str = ""
    ignore: list[str] = []
    size_bytes: int
    components: list[str] = Field(description="parts of the model that it changes")
    fits: list[str] = Field(description="models on whose weights every layer of it has a place")
    created_at: datetime


class AdapterRecord(AdapterVersion):
    """A version with the verdict of its inspection."""

    versions: list[int] = []
    verdict: dict[str, Any] = {}


class UploadStatus(StrEnum):
    """What became of an upload."""

    INSPECTING = "inspecting"
    ADMITTED = "admitted"
    REFUSED = "refused"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self is not UploadStatus.INSPECTING


class Upload(Wire):
    """An uploaded file on its way to being an adapter."""

    id: str
    status: UploadStatus
    name: Name
    description: str = ""
    ignore: list[str] = []
    sha256: Sha256
    size_bytes: int
    created_at: datetime
    new: bool = False  # whether these bytes were not there under this name before
    version: int | None = None
    code: str | None = None
    message: str | None = None
    reasons: list[dict[str, Any]] = []


class ModelProfile(Wire):
    """What a base model is and what it takes, as the engine that loaded it says."""

    name: str
    fingerprint: str = Field(description="sha256 over the base's files")
    pipeline: str
    components: list[str]
    dtype: str
    device: str
    threads: int | None = Field(None, description="on a CPU, where their number can decide the last bit")
    width: int
    height: int
    max_edge: int
    steps: int
    guidance_scale: float
    samplers: list[str]
    suggestions: list[str] = []
    obeys: dict[str, bool] = Field(
        {}, description="fields of a request -> whether it obeys them; one that it does not may only be left as it is"
    )
    size_multiple: int = Field(SIDE, description="of which width and height are multiples, in pixels")
    blocks: list[str] = Field([], description="parts of it that an adapter's `blocks` may name, or what lies in one")
    versions: dict[str, str] = Field({}, description="of the libraries that decide what a picture looks like")

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if max(self.width, self.height) > self.max_edge:
            raise ValueError("the model's own size is over its limit")
        return self

    def disobeyed(self, request: Picture) -> dict[str, Any]:
        """Return what a request sets and this model would drop: each field, and the one value that it may have."""
        ignored = [field for field, obeyed in self.obeys.items() if not obeyed]
        own = {field: getattr(self, field, type(request).model_fields[field].default) for field in ignored}
        return {field: value for field, value in own.items() if getattr(request, field) != value}
