"""A base from a single file draws what its folder draws, to the last value; what is not there is said in a sentence."""

import re
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


Edit = Callable[[Path, dict[str, torch.Tensor]], object]  # of a file and its tensors


def renamed(pattern: str, written: str) -> Edit:
    def edit(file: Path, tensors: dict[str, torch.Tensor]) -> None:
        save_file({re.sub(pattern, written, name): tensor for name, tensor in tensors.items()}, file)

    return edit


def with_more(*names: str) -> Edit:
    return lambda file, tensors: save_file(tensors | {name: torch.zeros(2) for name in names}, file)


def without(pattern: str) -> Edit:
    return lambda file, tensors: save_file({k: v for k, v in tensors.items() if not re.search(pattern, k)}, file)


REFUSED: dict[str, tuple[Edit, str]] = {
    "cut off": (lambda file, _: file.write_bytes(file.read_bytes()[:-100]), "is no whole safetensors file"),
    "no safetensors": (lambda file, _: file.write_bytes(b"PK\x03\x04" * 99), "is no whole safetensors file"),
    "no tensors": (lambda file, _: save_file({}, file), "has no tensors"),
    "of another family": (
        renamed(r"model\.diffusion_model\.\w+\.", "model.diffusion_model.joint_blocks."),
        r"single.safetensors does not fit \S+/single/unet/config.json \(weights of Stable Diffusion 3\)",
    ),
    "of two families": (
        with_more("model.diffusion_model.double_blocks.0.img_attn.qkv.weight"),
        r"tensors of more than one family: FLUX.*img_attn.qkv.weight\) and Stable Diffusion \(model.diff\S+.input_b",
    ),
    "without a denoiser": (without(r"^model\."), "has no weights of a unet, which the pipeline beside it draws with"),
    "without a weight": (without("input_blocks.0.0.bias"), r"unet/config.json.*: it lacks some of the weights"),
    "with a layer more": (
        with_more("model.diffusion_model.output_blocks.3.0.in_layers.7.weight"),
        r"it has more than that, up_blocks.1.resnets.1.in_layers.7.weight",
    ),
    "without a text encoder's weight": (
        without(r"text_model\.final_layer_norm\.bias"),
        r"text_encoder/config.json: it lacks final_layer_norm.bias",
    ),
    "an adapter": (with_more("lora_unet_mid.lora_up.weight"), "is an adapter, no base .lora_unet_mid.lora_up.weight"),
    "with scales": (with_more("model.diffusion_model.out.2.scale_weight"), "with scales of their own"),
    "without configurations": (
        lambda file, _: shutil.rmtree(file.with_suffix("")),
        r"single.safetensors has weights of Stable Diffusion and no configuration: put the folder 'single' beside it",
    ),
    "without one configuration": (
        lambda file, _: (file.with_suffix("") / "unet" / "config.json").unlink(),
        "unet has no config.json, which goes with the weights in .*single.safetensors",
    ),
    "without a tokenizer": (
        lambda file, _: shutil.rmtree(file.with_suffix("") / "tokenizer"),
        "has no folder 'tokenizer', which model_index.json names",
    ),
}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """The configurations of a Stable Diffusion 1.5, and its tensors in their original layout."""
    at = tmp_path_factory.mktemp("one")
    sd15(at / "folder")
    return without_weights(at / "folder", at / "single"), original.stable_diffusion(at / "folder")


@pytest.mark.parametrize(("edit", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_base_is_refused_in_a_sentence(
    one: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path, edit: Edit, sentence: str
) -> None:
    shutil.copytree(one[0], tmp_path / "single")
    save_file(one[1], tmp_path / "single.safetensors")
    edit(tmp_path / "single.safetensors", one[1])
    with pytest.raises(Unservable) as refused:
        loaded(tmp_path / "single.safetensors")
    told = str(refused.value)
    assert re.search(sentence, told), told
    assert "\n" not in told and len(told) < 1000


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.ckpt", "is a pickle, which could run any code"),
        ("a.bin", "is a pickle"),
        ("a.txt", "a.txt is opened by nothing here: single files are .safetensors or .gguf"),
        ("a.gguf", "a.gguf is no whole GGUF file"),
    ],
)
def test_only_safetensors_are_opened(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(Unservable, match=sentence):
        loaded(tmp_path / name)


def test_what_training_left_in_a_file_is_passed_over(one: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    shutil.copytree(one[0], tmp_path / "single")
    with_more("alphas_cumprod", "model_ema.decay", "denoiser.sigmas")(tmp_path / "single.safetensors", one[1])
    assert loaded(tmp_path / "single.safetensors").profile.pipeline == "StableDiffusionPipeline"
