"""Trainings on the wire: what a caller asks for, what was made of it when it was accepted, and its life."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, StringConstraints, field_validator, model_validator

from app.shared.text import blank, no_control_characters
from app.shared.wire.adapter import AdapterName
from app.shared.wire.dataset import DatasetRef
from app.shared.wire.generation import MAX_SEED, Failure, Status
from app.shared.wire.values import Name, Number, OwnedRef, Owner, Sha256, Whole, Wire

MAX_SAMPLES = 8  # prompts that are drawn at each checkpoint
MAX_PATTERNS = 64
MAX_STEPS = 1_000_000
DEFAULT_ALGORITHM = "lora"  # every tool reads it, it trains on every base, and most recipes' numbers are for it
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Seed = Annotated[Whole, Field(ge=0, le=MAX_SEED)]
Positive = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Part = Annotated[Number, Field(ge=0, lt=1, allow_inf_nan=False)]
OptionName = Annotated[str, StringConstraints(max_length=64)]
OptionValue = Flag | Whole | Annotated[Number, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=64)]
Naming = Literal["kohya", "diffusers"]
FileDtype = Literal["float32", "float16"]
LrScheduler = Literal["constant", "cosine", "linear"]
WeightingScheme = Literal["uniform", "logit_normal", "mode"]


class TrainingSample(Wire):
    """A prompt that is drawn with each checkpoint, always with the same seed."""

    prompt: str = Field(min_length=1, max_length=2000)
    seed: Seed = 0

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if blank(prompt):
            raise ValueError("the prompt has nothing that can be seen; say what to draw")
        return no_control_characters(prompt)


class TrainingFields(Wire):
    """What is asked for and obeyed as it stands."""

    name: AdapterName = Field(description="of the adapter that is made; it gets the next version of that name")
    description: str = Field("", max_length=2000, description="of the adapter, as the catalog shows it")
    dataset: DatasetRef = Field(description="as `POST /v1/datasets` answers it")
    algorithm: str = Field(
        DEFAULT_ALGORITHM,
        max_length=32,
        examples=["lokr"],
        description="one of `GET /v1/trainings/algorithms`, which tells its options",
    )
    start: OwnedRef | None = Field(
        None,
        description="an adapter of the catalog to begin from (its weights only), of the same algorithm, rank and "
        "options; what was accepted names it by its sha256",
    )
    layers: list[Pattern] = Field(
        [],
        max_length=MAX_PATTERNS,
        description="patterns (`unet.*attn*`) of the layers that are trained; empty: those of the model's blocks, of "
        "every kind that the algorithm reaches",
    )
    text_encoder: Flag = Field(False, description="whether the layers of text encoders are trained too")
    trigger: str | None = Field(None, min_length=1, max_length=200, description="words that every caption begins with")
    default_caption: str | None = Field(
        None, max_length=2000, description="of pictures that have none; without it such a dataset is refused"
    )
    batch_size: Whole = Field(1, ge=1, le=1024, description="pictures of one forward")
    gradient_accumulation_steps: Whole = Field(1, ge=1, le=1024, description="forwards of one step")
    lr_scheduler: LrScheduler = Field("constant", description="how the learning rate goes after the warm-up")
    lr_warmup_steps: Whole = Field(0, ge=0, description="steps over which the learning rate rises")
    weight_decay: Annotated[Number, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.01, description="how much of each factor a step takes away, by the learning rate, as AdamW has it"
    )
    max_grad_norm: Annotated[Number, Field(ge=0, le=1e9, allow_inf_nan=False)] = Field(
        1.0, description="the largest norm of the gradient; 0 is no limit"
    )
    ema_decay: Annotated[Number, Field(ge=0, le=0.99999, allow_inf_nan=False)] | None = Field(
        None, description="decay of a moving average, which is then what is kept; null is none"
    )
    snr_gamma: Annotated[Number, Field(ge=0.1, le=1000, allow_inf_nan=False)] | None = Field(
        None, description="gamma of min-SNR (arXiv 2303.09556), for bases that predict noise; null is none"
    )
    weighting_scheme: WeightingScheme | None = Field(
        None, description="of the noise levels, for bases of flow matching, as in SD 3's paper; null is `logit_normal`"
    )
    shuffle_caption: Flag = Field(
        False, description="whether the pieces of a caption, between commas, come in random order"
    )
    keep_tokens: Whole = Field(0, ge=0, le=1000, description="of those pieces, how many stay in front")
    caption_dropout_rate: Annotated[Number, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.0, description="the part of captions that is left empty"
    )
    output_dropout: Part = Field(
        0.0, description="the part of the outputs of each layer's change that a forward leaves out; the rest is more"
    )
    rank_dropout: Part = Field(0.0, description="the same of the ranks of its factors, where there are some")
    module_dropout: Part = Field(0.0, description="the same of the layers")
    mirror: Flag = Field(False, description="whether half of the showings are mirrored, pictures with text too")
    area: Whole | None = Field(
        None, ge=64, le=2**26, description="pixels of a picture at most; null is the model's own; none is enlarged"
    )
    gradient_checkpointing: Flag = Field(
        True, description="compute what is large anew in the backward pass: less memory, more time, the same numbers"
    )
    samples: list[TrainingSample] = Field([], max_length=MAX_SAMPLES, description="drawn at each checkpoint")
    naming: Naming = Field("kohya", description="how the file names its tensors: as kohya and ComfyUI, or as diffusers")
    dtype: FileDtype = Field(
        "float32",
        description="how the file stores what was trained, in float32 whatever this is: `float16` is half as large; a "
        "training whose numbers are too large for it fails",
    )


class TrainingRequest(TrainingFields):
    """What a caller asks for; whatever is null or missing is filled in when it is accepted."""

    model: Name | None = Field(None, description="a model of `GET /v1/models`; null is its `default`")
    rank: Whole | None = Field(
        None, ge=1, description="width of the factors; null is the algorithm's own on the base; some have none"
    )
    alpha: Positive | None = Field(None, description="what is trained is scaled by alpha ÷ rank; null is the rank")
    options: dict[OptionName, OptionValue] = Field({}, max_length=32, description="further options of the algorithm")
    steps: Whole | None = Field(
        None,
        ge=1,
        le=MAX_STEPS,
        description="optimiser steps; null is 100 for each picture and batch, from 200 to 3000",
    )
    learning_rate: Annotated[Number, Field(gt=0, le=100, allow_inf_nan=False)] | None = Field(
        None, description="of AdamW, after the warm-up; null is the algorithm's own on the base"
    )
    seed: Seed | None = Field(None, description="the same request with the same seed makes the same bytes")
    checkpoint_every: Whole | None = Field(None, ge=1, le=MAX_STEPS, description="steps; null is a tenth of them")

    @field_validator("description", "trigger", "default_caption")
    @classmethod
    def _text_is_printable(cls, text: str | None) -> str | None:
        return text and no_control_characters(text)

    @model_validator(mode="after")
    def _every_option_has_an_effect(self) -> Self:
        if self.keep_tokens and not self.shuffle_caption:
            raise ValueError("keep_tokens does nothing without shuffle_caption; leave it out, or shuffle captions")
        if self.steps is not None and self.lr_warmup_steps >= self.steps:
            raise ValueError(
                f"lr_warmup_steps has to be less than the {self.steps} steps: the rate would never be reached"
            )
        return self


class ResolvedTraining(TrainingFields):
    """A request with everything filled in: it describes the same adapter for ever."""

    base: Sha256 = Field(description="fingerprint of the base on which it is trained")
    model: str
    rank: int | None = None
    alpha: float | None = None
    options: dict[str, OptionValue | None] = {}
    steps: int
    learning_rate: float
    seed: int
    checkpoint_every: int
    continues: str | None = Field(None, description="a training whose last checkpoint this one begins with")


class TrainingProgress(Wire):
    """Optimiser steps done, and how they go; what is not known yet is null."""

    step: int = 0
    steps: int
    loss: float | None = Field(default=None, description="mean of the last steps")
    pictures_per_s: float | None = None
    remaining_s: float | None = Field(default=None, description="of training, without the drawing of samples")
    trained_steps: int = Field(default=0, ge=0, description="of these steps, those that this training made itself")
    device_seconds: float = Field(
        default=0, ge=0, description="for which a worker's device made them, and all that belongs to them"
    )


class TrainedAdapter(Wire):
    """The version of the catalog that a training made."""

    name: Name
    version: int
    sha256: Sha256
    step: int


class TrainingPicture(Wire):
    """A sample as it was drawn with a checkpoint."""

    step: int
    sample: int = Field(description="which of the request's `samples`")
    url: str
    sha256: Sha256


class TrainingCheckpoint(Wire):
    """A checkpoint whose adapter can be published, and its samples."""

    step: int
    loss: float | None = Field(default=None, description="mean of the steps before it")
    samples: list[TrainingPicture] = []


class CourseStep(Wire):
    """A checkpoint as it is stored."""

    step: int
    loss: float | None
    size_bytes: int


class Course(Wire):
    """What is kept of a training's way: checkpoints, the newest last, and notes."""

    steps: list[CourseStep]
    notes: list[str] = []
    began: int = Field(default=0, ge=0, description="the step of another training's checkpoint that it goes on from")
    trained: int = Field(default=0, ge=0, description="the step of its newest checkpoint")
    device_seconds: float = Field(default=0, ge=0, description="that were spent until then")


class Training(Wire):
    """One accepted training and its life."""

    id: str
    owner: Owner = Field(default="", description="whose it is, and its adapter; empty: the first owner's")
    status: Status
    progress: TrainingProgress
    request: ResolvedTraining
    adapter: TrainedAdapter | None = Field(
        default=None, description="in the catalog before the status says `succeeded`"
    )
    pictures: list[TrainingPicture] = Field(default=[], description="samples that were drawn, in order")
    checkpoints: list[TrainingCheckpoint] = Field(
        default=[],
        description="the newest ones, which `POST …/publish` gives a version, whatever became of the training",
    )
    notes: list[str] = Field(
        default=[], description="what its worker had to say of it, such as a rank cut to a layer's size"
    )
    error: Failure | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class TrainingBucket(Wire):
    """A size at which pictures are trained."""

    width: int
    height: int
    pictures: int = Field(description="how many an epoch shows at it")


class ForetoldTraining(Wire):
    """What a training would be: nothing is accepted."""

    request: ResolvedTraining
    layers: dict[str, int] = Field(description="component -> how many of its layers are trained")
    parameters: int = Field(description="how many numbers are trained")
    memory_bytes: int = Field(
        description="of the model's weights, of what is trained with its gradients, moments and average, and of "
        "`activation_bytes`"
    )
    activation_bytes: int = Field(
        0,
        description="what a step computes with: an estimate by the base's layers, the size, `batch_size` and "
        "`gradient_checkpointing`, which may be half as much again or a fifth less",
    )
    buckets: list[TrainingBucket] = Field(description="at which sizes the pictures are trained")
    epochs: float = Field(description="how often each picture is seen, its repeats counted as pictures")
    seconds: float | None = Field(
        description="of training, at the pace of the newest training on this model; where there was none, an estimate "
        "by the newest picture that was drawn with it; null: there was none either"
    )
    seconds_by: Literal["training", "drawing"] | None = Field(default=None, description="by what `seconds` is told")
    notes: list[str] = Field(description="what differs from what was asked for, such as a rank cut to a layer's size")
    why: dict[str, str] = Field({}, description="fields that the request left open -> why they are what they are")


class AlgorithmOption(Wire):
    """One option of an algorithm; a null default means that another number decides, which `meaning` names."""

    name: str
    kind: Literal["flag", "whole", "number", "choice"]
    default: OptionValue | None
    meaning: str
    least: float | None = None
    most: float | None = None
    choices: list[str] = []


class TrainableAlgorithm(Wire):
    """An algorithm as a training may name it."""

    name: str
    summary: str
    reaches: list[str] = Field(description="kinds of layers that it trains")
    rank: str = Field(description="what the rank means for it; empty: it takes none")
    default_rank: int | None
    alpha: bool = Field(description="whether it takes an alpha")
    options: list[AlgorithmOption]
    learning_rate: float
    first_change: float = Field(
        description="root mean square of what the first step changes in a weight, by unit of learning rate, at rank 16"
    )
    over_rank: bool = Field(
        description="whether `learning_rate` is of the default rank, and at another as many times more as that is less"
    )
    why_rate: str
    untrainable: str = Field(description="why it cannot be trained here; empty: it can")
