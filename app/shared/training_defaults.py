"""What a training on a base begins with where its request says nothing, and why: by the recipes that its field uses.

The algorithms' own learning rates (`lycoris/training/table.py`) move a weight in the first step as far as LoRA's 1e-4
does, whatever the algorithm. 1e-4 is what diffusers' recipes for LoRA take on most bases; where one takes more, the
rates of all algorithms are as many times their own there. The recipes are `examples/dreambooth/README_*.md` of
diffusers at 58eb52c (August 2026): AdamW, a constant rate without warm-up, one picture a forward, alpha = rank.

What they have in common are the defaults of the fields themselves (`app/shared/wire/training.py`); size and number of
pixels are the base's own, by its profile.
"""

from dataclasses import dataclass

from app.shared.wire.training import WeightingScheme

LOW_RANK = ("lora", "locon", "dora")  # of which a recipe's rank is one
FLOW_SCHEME: WeightingScheme = "logit_normal"
STEPS_A_PICTURE = 100
LEAST_STEPS, MOST_STEPS = 200, 3000
CHECKPOINTS = 10
WHY = {  # of a field: why it is what it is where nobody said
    "algorithm": "every tool reads it, it trains on every base, and most recipes are for it",
    "alpha": "the rank, so that the scale of what is trained is 1",
    "steps": f"{STEPS_A_PICTURE} for each picture and batch, what people take who train a style or a subject by hand; "
    f"below {LEAST_STEPS} nothing is learned, above {MOST_STEPS} little more",
    "lr_scheduler": "as in the recipes; it can be extended, too",
    "checkpoint_every": f"{CHECKPOINTS} in all, to choose from",
    "area": "the size at which the base draws best",
}
WHY_FLOW = {
    "weighting_scheme": "the middle noise levels are the hardest: the best of those tried for SD 3 (2403.03206)"
}
WHY_NOISE = {"snr_gamma": "none, as in the recipes; who wants min-SNR takes 5, as its paper does (2303.09556)"}


@dataclass(frozen=True, kw_only=True)
class BaseDefaults:
    """What is usual on a family of bases.

    pipelines: how the names of their classes begin. rate: by what an algorithm's own learning rate is multiplied. rank:
    of the algorithms in `LOW_RANK`; None is their own.
    """

    pipelines: tuple[str, ...]
    rate: float = 1.0
    rank: int | None = None
    why: str


FAMILIES = (  # the first that fits
    BaseDefaults(pipelines=("StableDiffusion3",), rate=4.0, why="4 times that: SD 3's recipe has 4e-4 for LoRA"),
    BaseDefaults(
        pipelines=(
            *("StableDiffusion", "Kandinsky", "Flux", "Sana", "Lumina2", "ZImage"),
            *("Ideogram4", "QwenImage21"),
        ),
        why="no more: this base's recipe has 1e-4 for LoRA",
    ),
    BaseDefaults(pipelines=("QwenImage",), rate=2.0, why="twice that: Qwen-Image's recipe has 2e-4 for LoRA"),
    BaseDefaults(pipelines=("HiDreamImage",), rate=2.0, why="twice that: HiDream's recipe has 2e-4 for LoRA"),
    BaseDefaults(pipelines=("Krea2",), rate=3.0, rank=32, why="3 times that: Krea 2's recipe has 3e-4, at rank 32"),
)
OTHERS = BaseDefaults(pipelines=(), why="no more: this base has no recipe, and most others have 1e-4 for LoRA")


def defaults_on(pipeline: str) -> BaseDefaults:
    """Return what is usual on bases of a pipeline's class."""
    return next((one for one in FAMILIES if pipeline.startswith(one.pipelines)), OTHERS)


def rate_on(pipeline: str, own: float) -> float:
    """Return the learning rate of an algorithm on a base; own: what the algorithm's table has at its rank."""
    return float(f"{own * defaults_on(pipeline).rate:.6g}")


def rank_on(pipeline: str, algorithm: str, own: int | None) -> int | None:
    """Return the rank of an algorithm on a base; own: what the algorithm's table has."""
    return (defaults_on(pipeline).rank if algorithm in LOW_RANK else None) or own
