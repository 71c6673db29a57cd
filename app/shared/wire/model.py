"""Models on the wire: what a base is and what it takes, as the engine that loaded it says."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from app.shared.wire.generation import FIRST_FIELDS, SIDE, Apply, Picture
from app.shared.wire.values import Wire

LISTED = frozenset(("sigmas",))  # fields of which a profile says by a list of its own what is obeyed
# How what a mask leaves open is drawn: not at all; with the rest held in each step; by a base that is made for it
Inpaint = Literal["none", "held", "native"]
OWN_SAMPLER = "own"  # what a profile calls the model's own
OWN_ENCODER = "own"  # the same of its image encoder
Reads = Literal["image_embeds", "hidden_states"]  # of an image encoder: of the whole picture, or of each of its parts


class ImageEncoder(Wire):
    """What reads the pictures of image prompts: a CLIP, by the widths that their files are made for."""

    image_embeds: int = Field(description="numbers that it says of a whole picture")
    hidden_states: int = Field(description="numbers that it says of each part of a picture")
    size: int = Field(description="pixels of an edge of what it reads: a picture is cropped or padded to a square")
    fingerprint: str = Field(
        default="", description="sha256 over its files: it is no part of the base's, for it decides image prompts alone"
    )


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
    samplers: list[str] = Field(description="samplers that were tried on it when it was loaded, beside its own")
    sampler_sigmas: dict[str, list[str]] = Field(
        {}, description="ways of spacing noise levels (`sigmas` of a request) of each sampler; `own` is the model's own"
    )
    sampler_steps: dict[str, int] = Field({}, description="the most `steps` of a sampler that has a limit of its own")
    eta_samplers: list[str] = Field([], description="the samplers that read `eta`; `own` is the model's own")
    long_prompts: bool = Field(False, description="a weighted prompt may be longer than the `tokens` that it reads")
    max_clip_skip: int | None = Field(None, description="the largest `clip_skip`; null: it obeys none")
    suggestions: list[str] = []
    obeys: dict[str, bool] = Field(
        {},
        description="fields of a request -> whether it obeys them; one that it does not may only be left as it is, and "
        "so may one that version 0.1 has not and of which it says nothing",
    )
    size_multiple: int = Field(SIDE, description="of which width and height are multiples, in pixels")
    sizes: list[tuple[int, int]] = Field([], description="all (width, height) that it draws; empty: any within limits")
    max_pixels: int | None = Field(
        None, description="over how many (width × height) its device has no memory to decode a picture; null: not known"
    )
    max_steps: int | None = Field(None, description="the most `steps` that it can take; null: as many as the service")
    negative_over: float | None = Field(
        None, description="the `guidance_scale` over which it reads a negative prompt; null: it does not depend on that"
    )
    why_from_none: str | None = Field(
        None, description="why it begins from no picture; null: it does, or it is not said"
    )
    inpaint: Inpaint | None = Field(
        None,
        description="how it draws what a mask leaves open: `held`, in steps that keep the rest; `native`, as a base "
        "that is made for inpainting: it draws nothing without a mask, of which grey is black or white, the nearer "
        "one; null: not said",
    )
    max_references: int = Field(0, description="how many `reference_images` it can be shown")
    min_references: int = Field(0, description="without how many of them it draws nothing")
    reference_edge: int = Field(0, description="the least pixels of an edge of one")
    reference_aspect: float | None = Field(
        None, description="the most that the longer edge of one may be of the shorter; null: any"
    )
    denoise_rounding: Literal["down", "up"] = Field(
        "down", description="how `steps` times `denoise` is rounded to the steps that are drawn from a picture"
    )
    tokens: dict[str, int] = Field(
        {},
        description="text encoder -> tokens of a prompt that it reads, those of beginning and end among them, the "
        "model's own template not; a prompt that is longer for all of them is refused",
    )
    apply_modes: list[Apply] = Field(
        ["auto", "merge", "bypass"],
        description="what a request's `apply` may say; which of them is possible depends on its adapters too",
    )
    quantised: list[str] = Field(
        [],
        description="what the weights of its components are stored as where that is no float for each number: `int8`, "
        "`float8_e4m3fn`, `nf4`, `Q8_0` and its like in a GGUF file",
    )
    adapter_kinds: list[str] = Field(
        ["weights"],
        description="what an adapter for it may hold: changes of `weights`, an `embedding` for a trigger, a `control` "
        "net for its denoiser, an `image_prompt` (IP-Adapter) where it has one of `image_encoders`",
    )
    safety_checker: Literal["unused"] | None = Field(
        default=None,
        description="`unused`: its folder has a model that judges pictures, which is not loaded: nothing looks at what "
        "is drawn; null: it has none, or an old worker does not say",
    )
    masks: bool = Field(False, description="an adapter's entry may have a `mask`, a region where it is applied")
    image_encoders: dict[str, ImageEncoder] = Field(
        {},
        description="what reads the pictures of image prompts, by the name that an upload may give as its "
        "`image_encoder`; `own` is the model's own part; none: such a file is refused",
    )
    preprocessors: dict[str, list[str]] = Field(
        default={},
        description="fingerprints of the models that its worker makes each kind of maps with, where these are there",
    )
    blocks: list[str] = Field([], description="parts of it that an adapter's `blocks` may name, or what lies in one")
    versions: dict[str, str] = Field({}, description="of the libraries that decide what a picture looks like")

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if max(self.width, self.height) > self.max_edge:
            raise ValueError("the model's own size is over its limit")
        return self

    def disobeyed(self, request: Picture) -> dict[str, Any]:
        """Return what a request sets and this model would drop: each field, and the one value that it may have."""
        fields = type(request).model_fields  # a newer worker's profile may name one that nobody can ask for here
        unsaid = [field for field in Picture.model_fields if field not in FIRST_FIELDS | LISTED | self.obeys.keys()]
        ignored = [*(field for field, obeyed in self.obeys.items() if not obeyed and field in fields), *unsaid]
        own = {field: getattr(self, field, fields[field].default) for field in ignored}
        return {field: value for field, value in own.items() if getattr(request, field) != value}
