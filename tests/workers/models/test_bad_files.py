"""A file that is no base is refused in one sentence, when it is loaded and when it is only looked into."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import save_file

from app.shared.settings import Settings
from tests.families import original
from tests.families.stable_diffusion import sd15
from tests.workers.models.test_sources import loaded, without_weights
from workers.models.folder import Unservable
from workers.models.looking import look

Edit = Callable[[Path, dict[str, torch.Tensor]], object]  # of a file and its tensors


def renamed(pattern: str, written: str) -> Edit:
    def edit(file: Path, tensors: dict[str, torch.Tensor]) -> None:
        save_file({re.sub(pattern, written, name): tensor for name, tensor in tensors.items()}, file)

    return edit


def with_more(*names: str) -> Edit:
    return lambda file, tensors: save_file(tensors | {name: torch.zeros(2) for name in names}, file)


def without(pattern: str) -> Edit:
    return lambda file, tensors: save_file({k: v for k, v in tensors.items() if not re.search(pattern, k)}, file)


def as_files(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    """These tensors alone, and no configurations."""
    shutil.rmtree(file.with_suffix(""))
    save_file(tensors, file)


def as_gguf(file: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """These tensors alone, as GGUF."""
    writer = GGUFWriter(file.with_suffix(".gguf"), "any")
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.with_suffix(".gguf")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


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
    "of a family that is not served": (
        lambda file, _: as_files(file, {"control_model.time_embed.0.weight": torch.zeros(2)}),
        r"single.safetensors is like \S+, and is a ControlNet, which is no base: no picture",
    ),
    "for inpainting, cut down": (
        lambda file, _: as_files(file, {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)}),
        r"no configuration: put the folder 'single' beside it.*as in \S+/stable-diffusion-inpainting on the hub",
    ),
    "of moving pictures": (
        lambda file, _: as_files(file, {"model.diffusion_model.patchify_proj.weight": torch.zeros(8, 8)}),
        "single.safetensors is like .*LTX.* and draws moving pictures",
    ),
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
        r"single.safetensors has weights of Stable Diffusion 1, .* and no tokenizer: put vocab.json and merges.txt of",
    ),
    "of a kind whose configurations cannot be made": (
        lambda file, _: as_files(file, {"double_blocks.0.img_attn.qkv.weight": torch.zeros(64, 64)}),
        r"single.safetensors has weights of FLUX.* and no configuration: put the folder 'single' beside it",
    ),
    "GGUF of another family": (
        lambda file, _: as_gguf(file, {"double_blocks.0.img_attn.qkv.weight": torch.zeros(64, 64)}),
        r"single.gguf does not fit \S+/single/unet/config.json \(weights of FLUX.*\): ",
    ),
    "GGUF cut off": (
        lambda file, tensors: cut(as_gguf(file, dict(list(tensors.items())[:3]))),
        r"single\.gguf is no whole GGUF file .*: download it again",
    ),
    "GGUF that is none": (
        lambda file, _: file.with_suffix(".gguf").write_bytes(b"\x80\x04K\x01."),
        r"single\.gguf is no whole GGUF file",
    ),
    "a pickle": (
        lambda file, _: file.with_suffix(".ckpt").write_bytes(b"\x80\x04K\x01."),
        r"single\.ckpt is a pickle, which could run any code, and is not opened: have the weights as safetensors",
    ),
    "another pickle": (lambda file, _: file.with_suffix(".bin").write_bytes(b"PK"), r"single\.bin is a pickle"),
    "of no format": (
        lambda file, _: file.with_suffix(".txt").write_bytes(b"a"),
        r"single\.txt is opened by nothing here: single files are \.safetensors or \.gguf",
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
# What only the reading of weights tells: a look counts their numbers
LOADED_ALONE = ("without a weight", "with a layer more", "without a text encoder's weight")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """The configurations of a Stable Diffusion 1.5, and its tensors in their original layout."""
    at = tmp_path_factory.mktemp("one")
    sd15(at / "folder")
    configured = without_weights(at / "folder", at / "single")
    for part in ("vae", "text_encoder"):  # of which a GGUF file has none
        shutil.copytree(at / "folder" / part, configured / part, dirs_exist_ok=True)
    return configured, original.stable_diffusion(at / "folder")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("workers.models.lone.snapshot_download", nowhere)


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_base_is_refused_in_a_sentence(
    one: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path, case: str
) -> None:
    edit, sentence = REFUSED[case]
    shutil.copytree(one[0], tmp_path / "single")
    save_file(one[1], tmp_path / "single.safetensors")
    before = {*tmp_path.iterdir()}
    edit(tmp_path / "single.safetensors", one[1])
    source = next(iter({*tmp_path.iterdir()} - before), tmp_path / "single.safetensors")
    for how in (loaded, looked)[: 1 if case in LOADED_ALONE else 2]:
        text = refusal(how, source)
        assert re.search(sentence, text), text
        assert "\n" not in text and len(text) < 1000


def looked(source: Path) -> None:
    look("it", Settings(models={"it": str(source)}))  # type: ignore[call-arg]


def refusal(how: Callable[[Any], Any], source: Path) -> str:
    with pytest.raises(Unservable) as refused:
        how(source)
    return str(refused.value)


def test_what_training_left_in_a_file_is_passed_over(one: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    shutil.copytree(one[0], tmp_path / "single")
    with_more("alphas_cumprod", "model_ema.decay", "denoiser.sigmas")(tmp_path / "single.safetensors", one[1])
    assert loaded(tmp_path / "single.safetensors").profile.pipeline == "StableDiffusionPipeline"
