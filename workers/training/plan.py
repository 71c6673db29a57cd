"""What a training is asked for: everything that decides its bytes, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from app.shared.errors import BadRequest
from app.shared.wire.training import MAX_STEPS, LrScheduler, WeightingScheme

EXTENDED = ("steps",)  # may grow when a training goes on


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture that is drawn as the service would draw it with a checkpoint as its adapter."""

    prompt: str
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How an adapter is trained; equal plans, pictures and bases give equal bytes.

    algorithm, rank, alpha, layers, options, text_encoder: as `lycoris.training` has them; None is the algorithm's own.
    steps: of the optimiser. batch_size: pictures of one forward. gradient_accumulation_steps: forwards of one step.
    lr_scheduler: how the learning rate goes after the warm-up. ema_decay: of the moving average, which is then what is
    exported; None: none. snr_gamma: of min-SNR (Hang et al. 2023, arXiv:2303.09556). weighting_scheme: how the times of
    flow matching are drawn; None is `logit_normal`. caption_dropout_rate: the part of captions that is left empty.
    keep_tokens: pieces between commas that are not shuffled. output_dropout, rank_dropout, module_dropout: the part of
    the change's outputs, of its ranks and of its layers that is left out, as `lycoris.training.dropout` has it.
    area: pixels of a picture at most; None is the base's own.
    """

    algorithm: str
    rank: int | None = None
    alpha: float | None = None
    layers: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    text_encoder: bool = False
    steps: int
    batch_size: int = 1
    gradient_accumulation_steps: int = 1
    learning_rate: float | None = None
    lr_scheduler: LrScheduler = "constant"
    lr_warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float | None = None
    seed: int = 0
    snr_gamma: float | None = None
    weighting_scheme: WeightingScheme | None = None
    shuffle_caption: bool = False
    keep_tokens: int = 0
    caption_dropout_rate: float = 0.0
    output_dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    mirror: bool = False
    area: int | None = None
    gradient_checkpointing: bool = True
    checkpoint_every: int = 100
    sample_every: int | None = None
    samples: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        """Raise BadRequest for what cannot be, the first thing by name."""
        for name, least, most in LIMITS:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise BadRequest("training_out_of_range", f"{name} is {value}; it goes from {least} to {most}")
        if self.lr_warmup_steps >= self.steps:
            warmup = f"lr_warmup_steps is {self.lr_warmup_steps} of {self.steps} steps"
            message = f"{warmup}: the learning rate would never be reached"
            raise BadRequest("training_void_option", message)
        if self.keep_tokens and not self.shuffle_caption:
            raise BadRequest("training_void_option", "keep_tokens does nothing without shuffle_caption")
        if self.sample_every is not None and not self.samples:
            raise BadRequest("training_void_option", "sample_every does nothing without samples")

    def fingerprint(self) -> str:
        """Return a hash of what must not change when a training goes on.

        What is as by default is left out: a field added later must not make another plan of one that lacks it.
        """
        fixed = {
            name: value for name, value in asdict(self).items() if name not in FREE and value != DEFAULTS.get(name)
        }
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

    def told(self) -> str:
        """Return, as JSON, what decides the bytes of the adapter."""
        decides = {name: value for name, value in asdict(self).items() if name not in FREE or name in EXTENDED}
        return json.dumps(decides, sort_keys=True)


DEFAULTS: Mapping[str, Any] = {one.name: one.default for one in fields(TrainingPlan) if one.default is not MISSING} | {
    "options": {}
}
# What may change between a checkpoint and going on: it decides no number of the steps before
FREE = (*EXTENDED, "checkpoint_every", "sample_every", "samples")
LIMITS: tuple[tuple[str, float, float], ...] = (
    ("steps", 1, MAX_STEPS),
    ("batch_size", 1, 1024),
    ("gradient_accumulation_steps", 1, 1024),
    ("learning_rate", 0.0, 100.0),
    ("lr_warmup_steps", 0, MAX_STEPS),
    ("weight_decay", 0.0, 1.0),
    ("max_grad_norm", 0.0, 1e9),
    ("ema_decay", 0.0, 0.99999),
    ("snr_gamma", 0.1, 1000.0),
    ("caption_dropout_rate", 0.0, 1.0),
    ("keep_tokens", 0, 1000),
    ("area", 64, 1 << 26),
    ("checkpoint_every", 1, MAX_STEPS),
    ("sample_every", 1, MAX_STEPS),
)
