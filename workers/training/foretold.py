"""What a training will be, before its first step: what a dry run prints."""

from collections import Counter
from collections.abc import Iterator

from app.shared.activations import activation_bytes
from app.shared.training_memory import amount, factor_bytes
from workers.models.loading import LoadedModel
from workers.models.trainable import base_layers
from workers.training.pictures import TrainingPicture
from workers.training.run import Training

FIRST_CHANGE_RANK = 16  # of which the library's table tells how far a first step goes


def foretold(
    training: Training, base: LoadedModel, pictures: tuple[TrainingPicture, ...], seconds: float | None = None
) -> Iterator[tuple[str, str]]:
    """Yield what there is to know of a training, by name. seconds: of a step, where one was tried."""
    plan, choice, batches = training.plan, training.choice, training.examples.batches
    layers = Counter(layer.component for layer in training.adapter.layers)
    yield "base", f"{base.profile.name}, {base.profile.pipeline}, {base.profile.dtype} on {base.profile.device}"
    yield "algorithm", choice.algorithm
    yield "trained", ", ".join(f"{count} layers of {component}" for component, count in layers.items())
    yield "numbers", f"{training.adapter.parameters:,}"
    if choice.rank is not None and choice.alpha is not None:
        yield "γ", f"{choice.alpha / choice.rank:g} (alpha {choice.alpha:g} / rank {choice.rank})"
    change, ranked = choice.over.first_change * training.learning_rate, ""
    if choice.rank is not None and choice.over.over_rank:
        change *= choice.rank / FIRST_CHANGE_RANK
    elif choice.rank is not None:
        ranked = f" at rank {FIRST_CHANGE_RANK}"
    yield "learning rate", f"{training.learning_rate:g}; the first step{ranked} changes a weight by about {change:.2g}"
    yield "memory", _memory(training, base)
    shown = training.pictures_seen()
    epochs = shown / batches.pictures
    each = plan.batch_size * plan.gradient_accumulation_steps
    yield "steps", f"{plan.steps} of {each}: {shown} pictures, {epochs:.3g} epochs"
    sizes = Counter(bucket.size for bucket in training.examples.buckets)
    yield "sizes", ", ".join(f"{width}×{height}: {count}" for (width, height), count in sorted(sizes.items()))
    cut = [
        f"{one.name} {bucket.box}"
        for one, bucket in zip(pictures, training.examples.buckets, strict=True)
        if bucket.box != (0, 0, one.width, one.height)
    ]
    if cut:
        yield "cut", "; ".join(cut)
    for note in training.adapter.notes:
        yield "note", note
    if seconds is not None:
        yield "time", f"about {seconds:.2g} s a step, {seconds * plan.steps / 60:.3g} minutes in all"


def _memory(training: Training, base: LoadedModel) -> str:
    """Return what it takes in all and by part, as a dry run of the service has it."""
    plan, profile, denoiser = training.plan, base.profile, base.denoiser()
    known = base_layers(profile.fingerprint, base.pipeline, base.components)
    factors = factor_bytes(training.adapter.parameters, averaged=plan.ema_decay is not None)
    computed = activation_bytes(
        known.layers,
        {layer.name for layer in training.adapter.layers},
        profile,
        denoiser and denoiser.pixels,
        pixels=max(width * height for width, height in (bucket.size for bucket in training.examples.buckets)),
        pictures=plan.batch_size,
        checkpointing=plan.gradient_checkpointing,
    )
    whole = amount(known.size_bytes + factors + computed)
    parts = f"{amount(known.size_bytes)} for the base, {amount(factors)} for factors and moments"
    return f"about {whole}: {parts}, about {amount(computed)} for activations"
