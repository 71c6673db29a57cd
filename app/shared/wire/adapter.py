"""Adapters on the wire: as a request names them, as they are resolved, and as the catalog has them."""

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.shared.references import Box, Fit
from app.shared.wire.map import ABOUT_THRESHOLDS, Preprocess, Thresholds
from app.shared.wire.picture import PictureIn, PictureRef
from app.shared.wire.values import Name, Number, OwnedRef, Owner, Sha256, Whole, Wire

MAX_PARTS = 64  # blocks or steps that one adapter's strength may be divided into
MAX_RANK = 4096
MAX_IMAGES = 16  # of one image prompt
NO_ADAPTERS = ("sha256", "uploads")  # words that mean something else where an adapter's name may stand
Component = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Strength = Annotated[Number, Field(ge=-20, le=20, allow_inf_nan=False)]
Block = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}(\.[A-Za-z0-9_]{1,64}){0,15}$")]
Fraction = Annotated[Number, Field(ge=0, lt=1, allow_inf_nan=False)]
AdapterKind = Literal["weights", "embedding", "control", "image_prompt"]


def no_word_of_ours(name: str) -> str:
    """`name` unchanged; raises ValueError where nobody could ask for an adapter of that name."""
    if name in NO_ADAPTERS:
        raise ValueError(f"{name!r} means something else in an address; choose another name")
    return name


def denoises(component: str) -> bool:
    """Tell whether a component runs at every step: what reads the prompt, and a prior, have run before the first."""
    return not component.startswith(("text_", "prior_"))


AdapterName = Annotated[Name, AfterValidator(no_word_of_ours)]


class AdapterSettings(Wire):
    """How much of an adapter is applied, where and when: what is asked for is what is resolved."""

    ref: OwnedRef = Field(
        description="`name`, `name:version`, `owner/name` or `sha256:<64 hex>`", examples=["fluent-3d-locon"]
    )
    strength: Strength = Field(default=1.0, description="0 is nothing, 1 is as trained")
    strengths: dict[Component, Strength] = Field(
        default={}, description="strength by component, over `strength`", examples=[{"unet": 0.8}]
    )
    blocks: dict[Block, Strength] = Field(
        default={},
        max_length=MAX_PARTS,
        description="factors of the strength by block of the model (`down`, `mid`, `up.1`: `blocks` of `GET "
        "/v1/models`) or of a part of one (`up.1.attentions`); the longest that fits counts, elsewhere it is 1",
        examples=[{"down": 0.5, "mid": 1.0, "up.1": 0.3}],
    )
    schedule: list[tuple[Fraction, Strength]] = Field(
        default=[],
        max_length=MAX_PARTS,
        description="strength on the denoiser step by step, in place of `strength`: pairs of the fraction of the "
        "denoising from which on it holds, rising from 0, and the strength",
        examples=[[[0.0, 0.2], [0.6, 1.0]]],
    )
    rank: Whole | None = Field(
        default=None,
        ge=1,
        le=MAX_RANK,
        description="apply only the first ranks of its LoRA layers, that many, as a DyLoRA is trained to be used; "
        "layers with at most that many, and layers of other algorithms, are applied whole",
    )
    image: PictureIn | None = Field(
        default=None,
        description="the picture of an image prompt, or what a control net or a control LoRA reads, of the drawing's "
        "size: what is transparent in it is black",
    )
    images: list[PictureIn] = Field(
        default=[], max_length=MAX_IMAGES, description="several pictures of an image prompt, read together"
    )
    fit: Fit = Field(
        default="crop",
        description="what of a picture an image prompt reads, which is a square: its middle (`crop`), or all of it "
        "with white around (`pad`)",
    )
    preprocess: Preprocess = Field(
        default="none",
        description="what a control net or LoRA reads of its `image`: `none`, the picture itself, which is a map then; "
        "`canny`, `depth` or `pose`, the map that is made of it at the drawing's size",
    )
    thresholds: Thresholds | None = Field(default=None, description=ABOUT_THRESHOLDS)
    mode: str | None = Field(
        default=None,
        max_length=64,
        description="what kind of picture it is, for a control net that is several in one: one of its `modes`",
    )
    mask: PictureIn | None = Field(
        default=None,
        description="where in the picture it is applied, a picture of the same size: white is where, black is where "
        "not, and grey is how much. Adapters are then applied by `bypass`",
    )
    unmasked: Literal["refuse", "apply"] = Field(
        default="refuse",
        description="of a mask: what becomes of layers that have no positions in the picture (text encoders, what "
        "attention makes of the text, times): such an adapter is refused, or they are changed everywhere",
    )

    @property
    def pictures(self) -> list[str]:
        """The pictures of the entry, in order."""
        return [self.image] if self.image else self.images


# Settings of an adapter that stand in every recipe; a later one is left out where it is as by default
FIRST_SETTINGS = frozenset(("ref", "strength", "strengths", "blocks", "schedule", "rank", "ignore"))
WEIGHTS: tuple[AdapterKind, ...] = ("weights", "embedding")
# Which kinds of adapters take a setting, where not all do
TAKEN_BY: Mapping[str, tuple[AdapterKind, ...]] = {
    "strengths": (*WEIGHTS, "image_prompt"),
    "blocks": (*WEIGHTS, "image_prompt"),
    "rank": (*WEIGHTS, "image_prompt"),
    "image": ("control", "image_prompt"),
    "images": ("image_prompt",),
    "fit": ("image_prompt",),
    "preprocess": ("control",),
    "thresholds": ("control",),
    "mode": ("control",),
    "mask": ("weights", "image_prompt"),
    "unmasked": ("weights",),
}
# Those of them that `weights` take too where they read a picture: a control LoRA, on a base that it fits
OF_CONTROL_LORAS = ("image", "preprocess", "thresholds")


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
    def _one_way_of_naming_pictures(self) -> Self:
        if self.image and self.images:
            raise ValueError("image and images both name pictures; put all of them into images")
        return self

    @model_validator(mode="after")
    def _one_strength_for_the_denoiser(self) -> Self:
        if self.schedule and (twice := sorted(filter(denoises, self.strengths))):
            raise ValueError(f"schedule and strengths both give the strength on {', '.join(twice)}; leave one out")
        return self


class ResolvedAdapter(AdapterSettings):
    """An adapter as it was resolved: the bytes are fixed, whatever is uploaded later."""

    kind: AdapterKind = "weights"
    name: str
    version: int
    sha256: Sha256
    ignore: list[str] = []
    image_encoder: str = Field(default="", description="fingerprint of what reads the pictures of an image prompt")
    boxes: list[Box] = Field(
        default=[], description="[left, top, right, bottom] of what an image prompt reads of each of its pictures"
    )
    maps: list[PictureRef] = Field(
        default=[],
        description="in a recipe: the maps that `preprocess` made, where there is one for each pass",
    )


def _kind_by(known: dict[str, Any]) -> AdapterKind:
    """Return the kind of a version whose record says none: what changes no component are embeddings."""
    return "weights" if known["components"] else "embedding"


Visibility = Literal["private", "shared", "public"]
ABOUT_ENCODER = (
    "of an image prompt: which of the base's `image_encoders` reads its pictures; empty: the one of the width that the "
    "file is made for"
)
ABOUT_VISIBILITY = (
    "who may use it: its owner alone (`private`), whoever names it as `owner/name` (`shared`), or all, in whose lists "
    "it is then (`public`); unset is as before, and of what is new its owner alone"
)


class AdapterVersion(Wire):
    """One version of a name: which bytes, and what its uploader said of them. Never changes."""

    name: Name
    version: int
    sha256: Sha256
    description: str = ""
    ignore: list[str] = []
    image_encoder: Name | Literal[""] = Field(default="", description=ABOUT_ENCODER)
    cover: PictureRef | None = Field(
        default=None, description="a picture of what it draws, as `POST /v1/images` keeps it"
    )
    size_bytes: int
    components: list[str] = Field(description="parts of the models that it changes")
    kind: AdapterKind = Field(
        default_factory=_kind_by,
        description="what it is: changes of `weights` (and embeddings beside them), an `embedding` alone, a `control` "
        "net or an `image_prompt`",
    )
    components_of: dict[str, list[str]] = Field({}, description="the same by model of `fits`, as far as it was noted")
    fits: list[str] = Field(description="models on whose weights every layer of it has a place")
    created_at: datetime
    owner: Owner = Field(
        default="", description="whose it is; empty: the first owner's, `radiata`: it came with a base model"
    )
    visibility: Visibility = Field(default="private", description=ABOUT_VISIBILITY)


class ShownAdapter(AdapterVersion):
    """A version as it is answered."""

    cover_url: str = Field("", description="address of the cover, as that of a picture; empty without one")


class AdapterRecord(ShownAdapter):
    """A version with the verdict of its inspection."""

    versions: list[int] = []
    verdict: dict[str, Any] = Field({}, description="on the first of the models that it fits")
    verdicts: dict[str, dict[str, Any]] = Field({}, description="by model, where it fits several")
