"""A base from a single file draws what its folder draws, to the last value; what is not there is said in a sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file

from app.shared.settings import Settings
from tests.families import original
from tests.families.stable_diffusion import sd15, sdxl
from workers.models.folder import Unservable
from workers.models.loading import LoadedModel, load
from workers.models.weight_names import WEIGHTS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of a scheduler

Layout = tuple[Callable[[Path], None], Callable[[Path], dict[str, torch.Tensor]]]
LAYOUTS: dict[str, Layout] = {
    "sd-1.5": (sd15, original.stable_diffusion),
    "sdxl": (sdxl, original.stable_diffusion_xl),
}


def loaded(source: Any) -> LoadedModel:
    settings: dict[str, Any] = {"models": {"it": source if isinstance(source, dict) else str(source)}, "threads": 1}
    return load("it", Settings(**settings))


def drawn(base: LoadedModel) -> np.ndarray:
    """A picture, of weights that begin at multiples of 64 bytes.

    Mapped from a file they begin where its header ends, and the last bits of a product on a CPU differ by that.
    """
    for part in base.pipeline.components.values():
        for weight in part.parameters() if isinstance(part, torch.nn.Module) else ():
            weight.data = weight.data.clone()
    return image_of(base)


def image_of(base: LoadedModel) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    asked: Any = {"num_inference_steps": 2, "width": 64, "height": 64, "output_type": "np", "generator": generator}
    return base.pipeline("a red apple on a tree", **asked).images[0]


def without_weights(folder: Path, into: Path) -> Path:
    """A copy of a folder without its weights."""
    return Path(shutil.copytree(folder, into, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json")))


@pytest.fixture(scope="module", params=LAYOUTS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of a family, and its weights in a single file with the configurations beside it."""
    build, written = LAYOUTS[request.param]
    at = tmp_path_factory.mktemp("sources")
    build(at / "folder")
    save_file(written(at / "folder"), at / "single.safetensors")
    without_weights(at / "folder", at / "single")
    return at / "folder", at / "single.safetensors"


def test_a_single_file_is_its_folder(both: tuple[Path, Path]) -> None:
    folder, single = loaded(both[0]), loaded(both[1])
    for name, part in folder.components.items():
        ours = single.components[name].state_dict()
        assert ours.keys() == part.state_dict().keys()
        assert [key for key, tensor in part.state_dict().items() if not torch.equal(tensor, ours[key])] == []
    assert np.array_equal(drawn(folder), drawn(single))
    assert single.profile.fingerprint != folder.profile.fingerprint


def test_a_folder_without_weights_of_the_denoiser_takes_the_file_at_its_top(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, single = both
    at = without_weights(folder, tmp_path / "model")
    shutil.copy(single, at / "any name.safetensors")
    one, other = loaded(at), loaded(single)
    assert one.profile.fingerprint == other.profile.fingerprint
    assert np.array_equal(drawn(one), drawn(other))
    shutil.copy(single, at / "another.safetensors")
    with pytest.raises(
        Unservable, match=r"several files at its top \(another.safetensors, any name.safetensors\): name"
    ):
        loaded(at)
    assert loaded(at / "another.safetensors").profile.fingerprint == one.profile.fingerprint


def test_a_folder_that_is_whole_is_not_drawn_with_the_file_at_its_top(both: tuple[Path, Path], tmp_path: Path) -> None:
    """As the repositories of Stable Diffusion have both."""
    folder, single = both
    at = Path(shutil.copytree(folder, tmp_path / "model"))
    shutil.copy(single, at)
    assert loaded(at).profile.fingerprint == loaded(folder).profile.fingerprint


def test_weights_that_are_there_as_one_variant_alone_are_taken(both: tuple[Path, Path], tmp_path: Path) -> None:
    folder = both[0]
    at = Path(shutil.copytree(folder, tmp_path / "model"))
    for file in at.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    assert np.array_equal(drawn(loaded(at)), drawn(loaded(folder)))
    whole = at / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    shutil.copy(whole, at / "unet" / "diffusion_pytorch_model.bf16.safetensors")
    with pytest.raises(Unservable, match=r"unet has its weights as several variants \(bf16, fp16\) and none without"):
        loaded(at)


def test_shards_of_one_variant_alone_are_taken(both: tuple[Path, Path], tmp_path: Path) -> None:
    folder = both[0]
    at = Path(shutil.copytree(folder, tmp_path / "model"))
    UNet2DConditionModel.from_pretrained(folder / "unet").save_pretrained(
        tmp_path / "unet", max_shard_size="50KB", variant="fp16"
    )
    shutil.rmtree(at / "unet")
    (tmp_path / "unet").rename(at / "unet")
    assert len(list((at / "unet").glob("*.safetensors"))) > 1
    assert np.array_equal(drawn(loaded(at)), drawn(loaded(folder)))
    next((at / "unet").glob("*-00001-of-*")).unlink()
    with pytest.raises(Unservable, match=r"unet lacks 1 of \d+ shards"):
        loaded(at)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("model.safetensors", None),
        ("model-00001-of-00002.safetensors", None),
        ("model.fp16.safetensors", "fp16"),
        ("model.fp16-00001-of-00002.safetensors", "fp16"),
        ("diffusion_pytorch_model.non_ema.safetensors", "non_ema"),
    ],
)
def test_a_variant_is_told_by_the_name_of_a_file(name: str, variant: str | None) -> None:
    found = WEIGHTS.fullmatch(name)
    assert found and found["variant"] == variant
