"""A base that cannot be served is refused in one sentence, which says what is wrong and where, and never draws."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.shared.settings import Settings
from tests.app.shared.making import profile
from tests.workers.training import toys
from workers.models.describing import Own, _judge_own
from workers.models.folder import ModelFolder, Unservable
from workers.models.loading import load
from workers.models.servable import judge_pipeline

Edit = Callable[[Path], object]
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    toys.pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def loaded(folder: Path, **settings: Any) -> Any:
    return load("toy", Settings(models={"toy": str(folder)}, **settings))


def edited(path: str, **values: Any) -> Edit:
    def edit(folder: Path) -> None:
        config = json.loads((folder / path).read_text())
        (folder / path).write_text(json.dumps(config | values))

    return edit


def cut(path: str, **_: Any) -> Edit:
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:-100])


def gone(path: str) -> Edit:
    return lambda folder: shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()


def renamed(path: str, name: str) -> Edit:
    return lambda folder: (folder / path).rename((folder / path).with_name(name))


def without(path: str, name: str) -> Edit:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / path)
        del tensors[name]
        save_file(tensors, folder / path)

    return edit


def sharded(folder: Path) -> None:
    names = {"a": "diffusion_pytorch_model-00001-of-00002.safetensors", "b": "gone-00002-of-00002.safetensors"}
    (folder / UNET).rename(folder / "unet" / names["a"])
    (folder / f"{UNET}.index.json").write_text(json.dumps({"weight_map": names}))


REFUSED: dict[str, tuple[Edit, str]] = {
    "no index": (gone("model_index.json"), "has no model_index.json"),
    "no JSON": (lambda folder: (folder / "model_index.json").write_text("{"), "model_index.json is no JSON"),
    "no class": (lambda folder: (folder / "model_index.json").write_text("{}"), "does not name the class"),
    "unheard class": (edited("model_index.json", _class_name="FluxFivePipeline"), "has no pipeline FluxFivePipeline"),
    "inpaint class": (
        edited("model_index.json", _class_name="FluxFillPipeline"),
        "FluxFillPipeline .*picture|FluxFillPipeline needs image",
    ),
    "refiner": (edited("model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline"), "changes a picture"),
    "moving": (
        edited("model_index.json", _class_name="LTXPipeline"),
        "draws moving pictures; this service draws still",
    ),
    "other channels": (edited("unet/config.json", in_channels=29), "reads 29 channels, and a latent of its VAE has 24"),
    "no component": (gone("vae"), "has no folder 'vae'"),
    "no weights": (gone(UNET), "unet has no weights .*download it whole"),
    "pickle": (renamed(UNET, "diffusion_pytorch_model.bin"), "is a pickle, which could run any code"),
    "truncated": (cut(UNET), f"{UNET} is no whole safetensors file"),
    "a shard missing": (sharded, "unet lacks 1 of 2 shards: gone-00002-of-00002.safetensors"),
    "shards of nothing": (
        lambda folder: (folder / f"{UNET}.index.json").write_text('{"weight_map": '),
        f"{UNET}.index.json does not say which files hold the weights: download it again",
    ),
    "shards without a map": (
        lambda folder: (folder / f"{UNET}.index.json").write_text('{"metadata": {}}'),
        f"{UNET}.index.json does not say which files hold the weights: download it again",
    ),
    "no vocabulary": (
        lambda folder: [path.unlink() for path in (folder / "tokenizer").iterdir() if path.suffix == ".json"],
        "tokenizer has no vocabulary",
    ),
    "another shape": (edited("unet/config.json", cross_attention_dim=64), r"cannot open .*attn2.to_k.weight expected"),
    "another shape, text": (edited("text_encoder/config.json", hidden_size=64), "have in another shape .*embedding"),
    "more layers": (edited("unet/config.json", layers_per_block=2), "the weights of unet .* lack .* and [0-9]+ more"),
    "more layers, text": (edited("text_encoder/config.json", num_hidden_layers=2), "weights of CLIPTextModel .* lack"),
    "a weight missing": (
        without("text_encoder/model.safetensors", "final_layer_norm.weight"),
        "lack what its config.json says: .*final_layer_norm.weight",
    ),
    "a component diffusers does not have": (
        edited("model_index.json", vae=["diffusers.pipelines.gone.modeling", "PaellaVQModel"]),
        r"diffusers \S+ cannot open ",
    ),
    "a library that is not there": (
        edited("unet/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        "cannot open .*",
    ),
    "radiata.json, steps": (
        lambda folder: (folder / "radiata.json").write_text('{"steps": 500}'),
        "radiata.json cannot be used: steps is 500, and RADIATA_MAX_STEPS allows 150",
    ),
    "radiata.json, size": (
        lambda folder: (folder / "radiata.json").write_text('{"width": 70}'),
        "radiata.json cannot be used: width is 70; it must be a multiple of 8 for 'toy': nearest 64 or 72",
    ),
    "radiata.json, a name": (
        lambda folder: (folder / "radiata.json").write_text('{"stepz": 5}'),
        "radiata.json cannot be used: there is no 'stepz'; did you mean 'steps'?",
    ),
    "radiata.json, a part": (
        lambda folder: (folder / "radiata.json").write_text('{"vae": 3}'),
        "radiata.json cannot be used: vae is 3; it is a folder, a file, a hub id or null",
    ),
    "radiata.json, a value": (
        lambda folder: (folder / "radiata.json").write_text('{"steps": "many"}'),
        "radiata.json cannot be used: steps is 'many': input should be a valid integer",
    ),
    "radiata.json, no object": (
        lambda folder: (folder / "radiata.json").write_text("[]"),
        "radiata.json cannot be used: it is no object in JSON",
    ),
    "no scheduler": (
        edited("model_index.json", scheduler=[None, None]),
        "model_index.json names no 'scheduler': no picture is drawn without one",
    ),
}


@pytest.mark.parametrize(("edit", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_served_is_refused_in_a_sentence(folder: Path, edit: Edit, sentence: str) -> None:
    edit(folder)
    with pytest.raises(Unservable) as refused:
        loaded(folder)
    told = str(refused.value)
    assert re.search(sentence, told), told
    assert "\n" not in told and len(told) < 1000


def test_a_guidance_that_a_base_does_not_obey_is_no_default_of_it() -> None:
    distilled, settings = profile(obeys={"guidance_scale": False}, guidance_scale=0.0), Settings.model_validate({})
    for said in (None, 0.0):
        _judge_own(Path(), Own.model_validate({"guidance_scale": said}), distilled, settings)
    with pytest.raises(Unservable, match=r"radiata.json cannot be used: guidance_scale is 3.5, and .* obeys none"):
        _judge_own(Path(), Own.model_validate({"guidance_scale": 3.5}), distilled, settings)


def test_what_is_whole_is_loaded_whole(folder: Path) -> None:
    (folder / "radiata.json").write_text('{"steps": 9, "guidance_scale": 2.5, "width": 72, "suggestions": ["a"]}')
    profile = loaded(folder).profile
    assert (profile.steps, profile.guidance_scale, profile.width, profile.height) == (9, 2.5, 72, 64)
    assert (profile.apply_modes, profile.adapter_kinds) == (
        ["auto", "merge", "bypass", "recompute"],
        ["weights", "embedding", "control", "image_prompt"],
    )


def test_the_dtype_is_that_of_the_denoiser_as_it_is_stored(folder: Path) -> None:
    assert ModelFolder(folder).stored_dtype() is torch.float32
    for dtype, drawn in ((torch.bfloat16, "bfloat16"), (torch.float16, "float32")):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(folder / UNET).items()}, folder / UNET)
        assert ModelFolder(folder).stored_dtype() is dtype
        assert loaded(folder, device="cpu").profile.dtype == drawn
    assert loaded(folder, device="cpu", dtype="float16").profile.dtype == "float16"


STILL = """AuraFlow Chroma CogView3Plus CogView4 Cosmos2TextToImage DreamLite ErnieImage Flux2 Flux2Klein FluxKontext
Flux GlmImage HiDreamImage HunyuanDiT HunyuanImage Ideogram4 Kandinsky3 Kandinsky5T2I KandinskyV22Combined Krea2
LatentConsistencyModel LongCatImage Lumina2 Lumina OmniGen OvisImage PixArtAlpha PixArtSigma PRX QwenImage21 QwenImage
QwenImageEdit QwenImageEditPlus
SanaSprint Sana StableDiffusion3 StableDiffusion StableDiffusionXL Wan ZImageOmni ZImage StableDiffusionPAG"""
OTHERS = """AudioLDM2 StableAudio3 CogVideoX HunyuanVideo HunyuanImageRefiner KandinskyV22 KandinskyV22Prior LTX2
LTXImageToVideo Kandinsky5T2V Kandinsky5I2I QwenImageEditInpaint QwenImageLayered FluxFill FluxControl FluxPriorRedux
StableDiffusionUpscale StableDiffusionInstructPix2Pix StableDiffusionControlNet StableVideoDiffusion WanImageToVideo
WanVACE ShapE DDPM LLaDA2 StableDiffusionAdapter StableCascadePrior"""


@pytest.mark.parametrize("name", STILL.split())
def test_a_pipeline_that_draws_a_still_from_a_prompt_is_served(name: str) -> None:
    judge_pipeline(f"{name}Pipeline")


@pytest.mark.parametrize("name", OTHERS.split())
def test_every_other_pipeline_is_refused_before_anything_is_loaded(name: str) -> None:
    assert hasattr(diffusers, f"{name}Pipeline")
    with pytest.raises(Unservable, match=f"{name}Pipeline .*; this service draws still pictures from a prompt alone"):
        judge_pipeline(f"{name}Pipeline")
