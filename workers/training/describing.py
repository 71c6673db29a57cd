"""What a trained file says of itself: the entries that other tools read, and no clock time."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from workers.models.loading import LoadedModel
from workers.training.pictures import TrainingPicture
from workers.training.plan import TrainingPlan
from workers.training.wording import SEPARATOR

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


def header(
    plan: TrainingPlan, base: LoadedModel, pictures: Sequence[TrainingPicture], highest: float, title: str
) -> Mapping[str, str]:
    """Return the `ss_*` and `modelspec.*` entries that say how a file was trained."""
    profile = base.profile
    predicts = base.pipeline.scheduler.config.get("prediction_type")
    return {
        "ss_base_model_version": profile.name,
        "ss_learning_rate": str(highest),
        "ss_steps": str(plan.steps),
        "ss_batch_size_per_device": str(plan.batch_size),
        "ss_gradient_accumulation_steps": str(plan.gradient_accumulation_steps),
        "ss_num_train_images": str(sum(one.repeats for one in pictures)),
        "ss_seed": str(plan.seed),
        "ss_tag_frequency": json.dumps({title: _tags(pictures)}),
        "ss_resolution": f"({profile.width}, {profile.height})",
        "ss_optimizer": "torch.optim.AdamW",
        "modelspec.title": title,
        "modelspec.resolution": f"{profile.width}x{profile.height}",
        **({"modelspec.prediction_type": PREDICTIONS[predicts]} if predicts in PREDICTIONS else {}),
        "radiata.base": profile.fingerprint,
        "radiata.quantised": json.dumps(profile.quantised),
        "radiata.average": "none" if plan.ema_decay is None else str(plan.ema_decay),
        "radiata.plan": plan.told(),
    }


def _tags(pictures: Sequence[TrainingPicture]) -> dict[str, int]:
    tags = Counter(tag.strip() for one in pictures for tag in one.captions[0].split(SEPARATOR))
    return dict(sorted(tags.items()))
