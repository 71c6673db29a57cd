"""What a training would be, before it is accepted: judged and counted by the layers that its worker wrote down."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from app.accepting.paces import Paces
from app.http.faults import refusal
from app.shared.activations import activation_bytes
from app.shared.buckets import Buckets
from app.shared.datasets import DatasetPicture
from app.shared.errors import BadRequest
from app.shared.facts import BaseLayers
from app.shared.training_memory import factor_bytes
from app.shared.wire.model import ModelProfile
from app.shared.wire.training import ForetoldTraining, ResolvedTraining, TrainingBucket, TrainingRequest
from lycoris.errors import PlanRefused
from lycoris.training.foretelling import Foretold, foretold
from lycoris.training.plan import Plan
from lycoris.training.sites import Site

NAMED = 5  # pictures, or layers, that a refusal names


def begun_on(layers: BaseLayers, plan: Plan) -> Foretold:
    """What a plan trains of a base; raises PlanRefused."""
    sites = [
        Site(
            one.component,
            one.path,
            one.kind,
            one.shape,
            one.bias,
            one.obstacle,
            one.weight or f"{one.component}.{one.path}.weight",
        )
        for one in layers.layers
    ]
    return foretold(sites, plan)


def unfit(layers: BaseLayers, body: TrainingRequest, plan: Plan | None) -> Iterator[BadRequest]:
    """Yield what of a request this base cannot do; plan: None where it is refused already."""
    if layers.untrainable:
        yield refusal(["model"], "base_not_trainable", f"this model cannot be trained: {layers.untrainable}")
        return
    if layers.flow and body.snr_gamma is not None:
        message = "snr_gamma is for models that predict noise; this one matches flows: leave it out"
        yield refusal(["snr_gamma"], "training_void_option", message)
    if not layers.flow and body.weighting_scheme is not None:
        message = "weighting_scheme is for flow matching; this model's times are uniform: leave it out"
        yield refusal(["weighting_scheme"], "training_void_option", message)
    if plan:
        try:
            begun_on(layers, plan)
        except PlanRefused as error:
            yield from refusals(error)


def refusals(error: PlanRefused) -> Iterator[BadRequest]:
    """Yield what the library refuses, by field."""
    for one in islice(error.reasons, NAMED):
        yield refusal(one.subject.split("."), str(one.code), f"{one.subject} {one.message}")


def too_small(pictures: Sequence[DatasetPicture], profile: ModelProfile, area: int | None) -> Iterator[BadRequest]:
    """Yield the first pictures that are smaller than every size at which the base is trained."""
    buckets, found = Buckets(profile, area), 0
    for one in pictures:
        try:
            buckets.of(one.name or one.ref, one.width, one.height)
        except BadRequest as error:
            yield refusal(["dataset"], error.code, error.message)
            if (found := found + 1) == NAMED:
                return


def buckets_of(pictures: Sequence[DatasetPicture], profile: ModelProfile, area: int | None) -> list[TrainingBucket]:
    """The sizes at which pictures are trained, and how many entries each has; those too small for any are left out."""
    buckets, found = Buckets(profile, area), Counter[tuple[int, int]]()
    for one in pictures:
        try:
            found[buckets.of(one.name, one.width, one.height).size] += one.repeats
        except BadRequest:
            continue
    return [TrainingBucket(width=w, height=h, pictures=count) for (w, h), count in sorted(found.items())]


def told(
    request: ResolvedTraining,
    plan: Plan,
    layers: BaseLayers,
    pictures: Sequence[DatasetPicture],
    profile: ModelProfile,
    paces: Paces,
    why: dict[str, str],
    latent: int | None,
) -> ForetoldTraining:
    """What a training that would be accepted is, and what it costs; latent: pixels along an edge of one."""
    begun, buckets = begun_on(layers, plan), buckets_of(pictures, profile, request.area)
    batches = sum(-(-one.pictures // request.batch_size) for one in buckets)
    factors = factor_bytes(begun.parameters, averaged=request.ema_decay is not None)
    pixels = max((one.width * one.height for one in buckets), default=profile.width * profile.height)
    activations = activation_bytes(
        layers.layers,
        begun.names,
        profile,
        latent,
        pixels=pixels,
        pictures=request.batch_size,
        checkpointing=request.gradient_checkpointing,
    )
    seconds, by = paces.seconds(request, profile, pixels)
    return ForetoldTraining(
        request=request,
        layers=dict(begun.layers),
        parameters=begun.parameters,
        memory_bytes=layers.size_bytes + factors + activations,
        activation_bytes=activations,
        buckets=buckets,
        epochs=round(request.steps * request.gradient_accumulation_steps / batches, 3),
        seconds=seconds,
        seconds_by=by,
        notes=list(begun.notes),
        why=why,
    )
