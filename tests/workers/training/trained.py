"""A base that is trained in milliseconds, and pictures for it."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.shared.pictures import picture_ref
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.families.registry import FAMILIES
from workers.models.loading import LoadedModel, load
from workers.training.pictures import TrainingPicture
from workers.training.plan import TrainingPlan
from workers.training.run import Training

EDGE = 64


def base(family: str, folder: Path) -> LoadedModel:
    """A family of tests/families, loaded as a worker loads it, whose own size is that of the tests."""
    FAMILIES[family].build(folder / family)
    chosen: dict[str, Any] = {"models": {family: str(folder / family)}, "threads": 1, "redis_url": "redis://localhost"}
    loaded = load(family, Settings(data_dir=folder / "data", **chosen))
    width, height = FAMILIES[family].size
    profile = loaded.profile.model_copy(update={"width": width, "height": height, "steps": 2})
    return LoadedModel(loaded.pipeline, loaded.components, profile, loaded.folder)


@cache
def small_base() -> LoadedModel:
    """A Stable Diffusion 1.5, the same one for all tests."""
    return base("sd-1.5", Path(mkdtemp(prefix="trained-")))


def picture(number: int, size: tuple[int, int] = (EDGE, EDGE), **changed: Any) -> TrainingPicture:
    """A picture of blocks of colour; the same number is the same picture."""
    small = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small, "RGB").resize(size, Image.Resampling.NEAREST)
    said: dict[str, Any] = {"captions": (f"blocks, of kind {number}, in colour",), "repeats": 1} | changed
    return TrainingPicture(f"{number}.png", picture_ref(image), *size, load=lambda: image, **said)


def plan(**changed: Any) -> TrainingPlan:
    """A plan of a few steps on the middle of the UNet."""
    plain: dict[str, Any] = {"algorithm": "lokr", "steps": 4, "batch_size": 2, "learning_rate": 1e-2}
    plain |= {"layers": ("unet.mid_block*",), "gradient_checkpointing": False, "checkpoint_every": 2, "seed": 7}
    return TrainingPlan(**plain | changed)


def training(folder: Path, *, count: int = 3, on: LoadedModel | None = None, **changed: Any) -> Training:
    """A training of that plan, with its checkpoints in a folder."""
    pictures = changed.pop("pictures", None) or [picture(number) for number in range(count)]
    more = {name: changed.pop(name) for name in ("kept", "start", "dtype") if name in changed}
    return Training(plan(**changed), on or small_base(), pictures, Storage(folder.as_uri()), **more)


def checkpoints(folder: Path) -> dict[str, bytes]:
    """The files of a training's checkpoints."""
    return {file.name: file.read_bytes() for file in (folder / "checkpoints").iterdir() if file.suffix}


def weights(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """The weights of a base as they are now."""
    return {name: weight.clone() for name, weight in loaded.components["unet"].state_dict().items()}
