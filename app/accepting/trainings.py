"""Acceptance of trainings: what a request leaves open is filled in, and what cannot be is refused, all of it at once.

It judges by the library's own table of algorithms, and by what the base's worker wrote down of its layers; the worker
judges again before the first step, and finds what only the base itself can show.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from app.accepting.foretelling import refusals, told, too_small, unfit
from app.accepting.generations import COMPARED, SEED_BITS, Parts, profile_of, together
from app.accepting.judging import overlong
from app.accepting.paces import Paces
from app.http.faults import meant, quoted, refusal
from app.shared.catalog import file_key
from app.shared.datasets import Dataset, Datasets
from app.shared.errors import BadRequest, Conflict, Gone, NotFound, RadiataError, Unavailable
from app.shared.facts import BaseLayers, TokenizerFile
from app.shared.generations import Ledger
from app.shared.lifecycle import now
from app.shared.storage import Storage
from app.shared.training_defaults import (
    CHECKPOINTS,
    FLOW_SCHEME,
    LEAST_STEPS,
    LOW_RANK,
    MOST_STEPS,
    STEPS_A_PICTURE,
    WHY,
    WHY_FLOW,
    WHY_NOISE,
    defaults_on,
    rank_on,
    rate_on,
)
from app.shared.trainings import Trainings
from app.shared.wire.generation import Status
from app.shared.wire.model import ModelProfile
from app.shared.wire.training import (
    MAX_STEPS,
    ForetoldTraining,
    ResolvedTraining,
    TrainableAlgorithm,
    TrainingRequest,
)
from lycoris.errors import PlanRefused
from lycoris.training.plan import Plan, plan, refuse_dropout
from lycoris.training.table import ALGORITHMS

NAMED = 5  # pictures in a sentence
LEAST_PICTURES = 2
# What an adapter's layers are called where it is read, if otherwise than where it is trained
READ_AS = {"locon": {"lora", "locon"}, "dora": {"dora-lora", "dora-locon", "dora-loha", "dora-lokr"}}


class TrainingParts(Parts, Protocol):
    """What this file asks of a running service."""

    @property
    def datasets(self) -> Datasets: ...
    @property
    def trainings(self) -> Trainings: ...
    @property
    def storage(self) -> Storage: ...
    @property
    def ledger(self) -> Ledger: ...


def resolve(parts: TrainingParts, body: TrainingRequest) -> ResolvedTraining:
    """Fill in what was left open; raises BadRequest, NotFound, Unavailable or Unreadable with everything wrong."""
    return _resolved(parts, body).request


def foretell(parts: TrainingParts, body: TrainingRequest) -> ForetoldTraining:
    """As `resolve`, with what it costs; raises Unavailable too where the model's worker has not said enough."""
    found = _resolved(parts, body)
    if found.layers is None:
        message = f"no worker has said what of {found.profile.name!r} can be trained yet; start one of this version"
        raise Unavailable("model_not_ready", message)
    pictures = found.dataset.pictures
    denoiser, reasons = parts.profiles.denoiser(found.profile), why(body, found)
    latent, paces = denoiser and denoiser.pixels, Paces(parts.trainings, parts.ledger)
    return told(found.request, found.plan, found.layers, pictures, found.profile, paces, reasons, latent)


class _Resolved(NamedTuple):
    request: ResolvedTraining
    plan: Plan
    layers: BaseLayers | None
    dataset: Dataset
    profile: ModelProfile


def _resolved(parts: TrainingParts, body: TrainingRequest) -> _Resolved:
    profile = profile_of(parts, body.model)
    dataset, wrong = _dataset(parts, body)
    layers = parts.profiles.layers(profile)
    wrong += [*_misdescribed(dataset, body), *_unsampled(body, profile)]
    wrong += _too_long(dataset, body, parts.profiles.tokenizers(profile))
    start, apart = _start(parts, profile, body)
    wrong += apart
    wrong += too_small(dataset.pictures, profile, body.area)
    try:
        rank = body.rank
        if rank is None and start:
            rank = max(start.ranks, default=None)
        elif rank is None and body.algorithm in ALGORITHMS:
            rank = rank_on(profile.pipeline, body.algorithm, ALGORITHMS[body.algorithm].default_rank)
        chosen = plan(body.algorithm, rank, body.alpha, body.options, body.layers, body.text_encoder)
        refuse_dropout(chosen, body.output_dropout, body.rank_dropout, body.module_dropout)
    except PlanRefused as error:
        wrong += [*refusals(error), *(unfit(layers, body, None) if layers else ())]
        raise together(wrong) from error
    wrong += unfit(layers, body, chosen) if layers else ()
    if start and chosen.rank and start.ranks and chosen.rank not in start.ranks:
        ranks = ", ".join(map(str, start.ranks))
        message = f"the rank is {chosen.rank}, and {body.start!r} was trained with {ranks}; give that rank"
        wrong.append(refusal(["rank"], "start_of_another_rank", message, {"allowed": list(start.ranks)}))
    steps = body.steps or _steps(dataset, body)
    if dataset.pictures and body.lr_warmup_steps >= steps:
        message = f"lr_warmup_steps has to be less than the {steps} steps: the learning rate would never be reached"
        wrong.append(refusal(["lr_warmup_steps"], "training_void_option", message, {"maximum": steps - 1}))
    if wrong:
        raise together(wrong)
    filled = {
        "dataset": dataset.ref,
        "start": start and start.ref,
        "base": profile.fingerprint,
        "model": profile.name,
        "rank": chosen.rank,
        "alpha": chosen.alpha,
        "options": dict(chosen.options),
        "steps": steps,
        "learning_rate": body.learning_rate or rate_on(profile.pipeline, chosen.learning_rate),
        "weighting_scheme": body.weighting_scheme or (FLOW_SCHEME if layers and layers.flow else None),
        "seed": secrets.randbits(SEED_BITS) if body.seed is None else body.seed,
        "checkpoint_every": body.checkpoint_every or max(steps // CHECKPOINTS, 1),
    }
    request = ResolvedTraining.model_validate(body.model_dump(exclude={*filled}) | filled)
    return _Resolved(request, chosen, layers, dataset, profile)


def resumed(parts: TrainingParts, training_id: str) -> ResolvedTraining:
    """What goes on with a training that failed or was canceled; raises Conflict for any other."""
    training = parts.trainings.get(training_id)
    if training.status not in (Status.FAILED, Status.CANCELED):
        message = f"this training is {training.status}; only one that has failed or was canceled is resumed"
        raise Conflict("not_resumable", message)
    _as_accepted(parts, training.request)
    return training.request.model_copy(update={"continues": training_id})


def extended(parts: TrainingParts, training_id: str, steps: int) -> ResolvedTraining:
    """What trains a training that has succeeded so many steps longer; raises Conflict for any other."""
    training = parts.trainings.get(training_id)
    if training.status is not Status.SUCCEEDED:
        message = f"this training is {training.status}; only one that has succeeded is extended"
        raise Conflict("not_extendable", message)
    total = training.request.steps + steps
    if total > MAX_STEPS:
        allowed = {"maximum": MAX_STEPS - training.request.steps}
        raise refusal(["steps"], "steps_over_limit", f"that would be {total} steps; {MAX_STEPS} are possible", allowed)
    if training.request.lr_scheduler != "constant":
        message = (
            f"its learning rate has gone down ({training.request.lr_scheduler}); one that is constant can be extended"
        )
        raise Conflict("not_extendable", message)
    _as_accepted(parts, training.request)
    return training.request.model_copy(update={"continues": training_id, "steps": total})


@dataclass(frozen=True)
class _Start:
    """An adapter to begin from: by its bytes, and the ranks of its layers, smallest first; none where it has none."""

    ref: str
    ranks: tuple[int, ...]


def _start(
    parts: TrainingParts, profile: ModelProfile, body: TrainingRequest
) -> tuple[_Start | None, list[RadiataError]]:
    """Return what a training begins from, and why it cannot; its factors are judged before the first step."""
    if body.start is None:
        return None, []
    try:
        record = parts.catalog.record(body.start)
    except (NotFound, Gone) as error:
        near = meant(body.start, parts.catalog.names(COMPARED)) if isinstance(error, NotFound) else ""
        return None, [refusal(["start"], error.code, error.message + near)]
    if record.kind != "weights":
        message = f"{body.start!r} is of the kind {record.kind}; a training begins from weights"
        return None, [refusal(["start"], "setting_of_another_kind", message)]
    if profile.name not in record.fits:
        places = ", ".join(record.fits) or "no model here"
        message = f"{body.start!r} fits {places}, not {profile.name!r}; choose another of the two"
        return None, [refusal(["start"], "adapter_for_another_base", message)]
    verdict = record.verdicts.get(profile.name, record.verdict)
    found = set(verdict.get("algorithms", ()))
    if other := sorted(found - READ_AS.get(body.algorithm, {body.algorithm})):
        message = f"{body.start!r} is made of {', '.join(other)}, which {body.algorithm} does not train"
        return None, [refusal(["start"], "start_of_another_algorithm", message)]
    return _Start(f"sha256:{record.sha256}", tuple(verdict.get("ranks", ()))), []


def algorithms(profile: ModelProfile | None) -> Iterator[TrainableAlgorithm]:
    """Yield every algorithm: what it takes and reaches, why it cannot be trained where it cannot; its defaults there.

    profile: of the model on which they are; None: nobody knows that yet, and they are the algorithms' own.
    """
    for one in ALGORITHMS.values():
        own = TrainableAlgorithm.model_validate(asdict(one))
        if profile is not None and not one.untrainable:
            rank = rank_on(profile.pipeline, one.name, one.default_rank)
            rate = rate_on(profile.pipeline, one.rate_at(rank))
            reason = f"{one.why_rate}; {defaults_on(profile.pipeline).why}"
            own = own.model_copy(update={"default_rank": rank, "learning_rate": rate, "why_rate": reason})
        yield own


def why(body: TrainingRequest, found: _Resolved) -> dict[str, str]:
    """Return, of each field that a request left open, why it is what it is."""
    base, facts = defaults_on(found.profile.pipeline), found.plan.facts
    reasons = WHY | (WHY_FLOW if found.layers and found.layers.flow else WHY_NOISE)
    reasons |= {"learning_rate": f"{found.plan.over.why_rate}; {base.why}"}
    reasons |= {"rank": base.why if base.rank and body.algorithm in LOW_RANK else "the algorithm's own: " + facts.rank}
    if found.plan.rank is None or body.start:  # it takes none, or has that of the adapter from which it begins
        del reasons["rank"]
    if found.plan.alpha is None:
        del reasons["alpha"]
    said = body.model_dump(exclude_unset=True, exclude_none=True)
    return {field: reason for field, reason in reasons.items() if field not in said}


def _dataset(parts: TrainingParts, body: TrainingRequest) -> tuple[Dataset, list[RadiataError]]:
    """Return the dataset; one that is not there is empty, so that all else is judged too, and said to be unknown."""
    try:
        return parts.datasets.get(body.dataset), []
    except NotFound as error:
        reasons = refusal(["dataset"], error.code, error.message).reasons
        return Dataset(ref=body.dataset, pictures=(), created_at=now()), [
            NotFound(error.code, error.message, reasons=reasons)
        ]


def _misdescribed(dataset: Dataset, body: TrainingRequest) -> Iterator[BadRequest]:
    if not dataset.pictures:  # it is not there
        return
    if len(dataset.pictures) < LEAST_PICTURES:
        message = "a dataset of one picture teaches that picture and nothing else; add others to it"
        yield refusal(["dataset"], "dataset_too_small", message)
    missing = [one.name or one.ref for one in dataset.pictures if one.caption is None]
    if missing and body.default_caption is None:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        named = ", ".join(missing[:NAMED]) + more
        message = f"{len(missing)} of {len(dataset.pictures)} pictures have no caption: {named}; give a default_caption"
        yield refusal(["default_caption"], "caption_missing", message)
    if body.default_caption is not None and not missing:
        message = "every picture has a caption of its own; leave default_caption out"
        yield refusal(["default_caption"], "training_void_option", message)


def _too_long(dataset: Dataset, body: TrainingRequest, files: Sequence[TokenizerFile]) -> Iterator[BadRequest]:
    """Yield the captions and samples that no text encoder reads whole; a caption has one wording a line."""
    said: dict[str, str] = {}  # what is read -> of what
    default = body.default_caption or ""
    captions = [(one.caption if one.caption is not None else default, one.name or one.ref) for one in dataset.pictures]
    for caption, name in [*captions, (default, "")]:
        for line in caption.splitlines() or [""]:
            text = ", ".join(filter(None, (body.trigger, line.strip())))
            said.setdefault(text, f"the caption of {quoted(name)}" if name else "the default_caption")
    for text, length, most in islice(overlong(said, files), NAMED):
        whole = f"{said[text]} and the trigger are" if body.trigger else f"{said[text]} is"
        message = f"{whole} {length} tokens long; this model reads {most}: shorten it"
        yield refusal(["dataset"], "caption_too_long", message, {"maxTokens": most})
    for at, sample in enumerate(body.samples):
        for _, length, most in overlong([sample.prompt], files):
            message = f"the prompt is {length} tokens long; this model reads {most}"
            yield refusal(["samples", at, "prompt"], "prompt_too_long", message, {"maxTokens": most})


def _unsampled(body: TrainingRequest, profile: ModelProfile) -> Iterator[BadRequest]:
    if body.samples and profile.min_references:
        message = f"{profile.name!r} draws nothing without reference images, which a sample has none of; leave them out"
        yield refusal(["samples"], "not_obeyed", message)
    said = [(one.prompt, one.seed) for one in body.samples]
    for at, one in enumerate(said):
        if one in said[:at]:
            yield refusal(["samples", at], "said_twice", "this sample stands there twice; give it another seed")


def _as_accepted(parts: TrainingParts, request: ResolvedTraining) -> None:
    """Raise Conflict or NotFound where a training of before could not go on: something that it was made of is gone."""
    if profile_of(parts, request.model).fingerprint != request.base:
        message = f"model {request.model!r} is another base than when this was accepted; train anew on it"
        raise Conflict("base_changed", message)
    if request.start and not parts.storage.exists(file_key(request.start.removeprefix("sha256:"))):
        message = "the adapter that this training began from was deleted; upload the same file again to go on with it"
        raise Conflict("start_deleted", message)
    parts.datasets.get(request.dataset)


def _steps(dataset: Dataset, body: TrainingRequest) -> int:
    steps = STEPS_A_PICTURE * len(dataset.pictures) // (body.batch_size * body.gradient_accumulation_steps)
    return min(max(steps, LEAST_STEPS), MOST_STEPS)
