"""A lone file draws what its folder draws: its configurations are made of its shapes and a table."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from app.shared.base_source import BaseSource
from app.shared.settings import Settings
from tests.families import original, tokenizers
from tests.families.parts import clip_encoder, kl_codec
from tests.families.stable_diffusion import NOISE, unet
from tests.families.weights import fill
from tests.workers.models.test_sources import drawn, loaded
from workers.models import checkpoint, weight_files
from workers.models import folder as model_folder
from workers.models.fingerprint import fingerprint
from workers.models.folder import Unservable
from workers.models.looking import look
from workers.models.made import made
from workers.models.sources import source_of
from workers.models.weight_files import Stored

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of a scheduler

WIDTH = 64  # of a CLIP with one head

# As the repositories on the hub have them: stable-diffusion-v1-5/stable-diffusion-v1-5, and
# stabilityai/stable-diffusion-xl-base-1.0
V1: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 64,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "layers_per_block": 2,
    },
    "vae": {"sample_size": 512, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    | {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    | {"latent_channels": 4, "scaling_factor": 0.18215},
    "text_encoder": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    | {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "projection_dim": 768}
    | {"vocab_size": 49408, "max_position_embeddings": 77},
}
XL: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 128,
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "layers_per_block": 2,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": V1["vae"] | {"sample_size": 1024, "scaling_factor": 0.13025},
    "text_encoder": V1["text_encoder"],
    "text_encoder_2": V1["text_encoder"]
    | {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32}
    | {"hidden_act": "gelu", "projection_dim": 1280},
}
MODELS: dict[str, Any] = {
    "unet": lambda config: UNet2DConditionModel(**config),
    "vae": lambda config: AutoencoderKL(**config),
    "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
    "text_encoder_2": lambda config: CLIPTextModelWithProjection(CLIPTextConfig(**config)),
}


@pytest.mark.parametrize(
    ("configs", "written"), [(V1, original.stable_diffusion), (XL, original.stable_diffusion_xl)], ids=["1.5", "xl"]
)
def test_what_is_made_of_the_true_shapes_is_what_the_hub_has(
    configs: dict[str, dict[str, Any]], written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        tensors = {part: MODELS[part](config).state_dict() for part, config in configs.items()}
    monkeypatch.setattr(original, "weights", lambda folder: tensors[folder.name])
    header = {name: Stored("F16", tuple(tensor.shape)) for name, tensor in written(Path()).items()}
    found = made(header)
    assert found
    for part, config in configs.items():
        ours = found[1][part]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}
        assert {name: ours.get(name) for name in plain} == plain, part


def sd1(folder: Path) -> None:
    tokenizer = tokenizers.clip()
    parts: dict[str, Any] = {
        "unet": unet(block_out_channels=(32, 64), norm_num_groups=32, attention_head_dim=8, cross_attention_dim=WIDTH),
        "vae": kl_codec(block_out_channels=(32,) * 4, norm_num_groups=32),
        "text_encoder": clip_encoder(tokenizer, hidden_size=WIDTH, num_attention_heads=1),
        "tokenizer": tokenizer,
        "scheduler": PNDMScheduler(**NOISE, skip_prk_steps=True, set_alpha_to_one=False),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    fill(StableDiffusionPipeline(**parts)).save_pretrained(folder)


def xl(folder: Path) -> None:
    first, second = tokenizers.clip(), tokenizers.clip()
    second.pad_token = "!"
    wide: dict[str, Any] = {"hidden_size": WIDTH, "num_attention_heads": 1}
    denoiser = unet(
        block_out_channels=(64, 128),
        norm_num_groups=32,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        cross_attention_dim=2 * WIDTH,
    )
    parts: dict[str, Any] = {
        "unet": denoiser,
        "vae": kl_codec(block_out_channels=(32,) * 4, norm_num_groups=32, scaling_factor=0.13025),
        "text_encoder": clip_encoder(first, **wide),
        "text_encoder_2": clip_encoder(second, projected=True, hidden_act="gelu", projection_dim=WIDTH, **wide),
        "tokenizer": first,
        "tokenizer_2": second,
        "scheduler": EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),
    }
    fill(StableDiffusionXLPipeline(**parts)).save_pretrained(folder)


LONE = {"sd-1.5": (sd1, original.stable_diffusion), "sdxl": (xl, original.stable_diffusion_xl)}


def pair(family: str, at: Path) -> tuple[Path, Path]:
    """A folder, and a lone file with its weights and nothing beside it but a vocabulary."""
    build, written = LONE[family]
    build(at / "folder")
    save_file(written(at / "folder"), at / "it.safetensors")
    shutil.copytree(at / "folder" / "tokenizer", at / "it" / "tokenizer")
    return at / "folder", at / "it.safetensors"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Those of a Stable Diffusion 1.5."""
    return pair("sd-1.5", tmp_path_factory.mktemp("lone"))


@pytest.mark.parametrize("family", LONE)
def test_a_lone_file_is_its_folder(family: str, tmp_path: Path) -> None:
    folder, lone = map(loaded, both := pair(family, tmp_path))
    assert np.array_equal(drawn(folder), drawn(lone))
    ours, theirs = lone.profile, folder.profile
    assert (ours.pipeline, ours.obeys, ours.samplers) == (theirs.pipeline, theirs.obeys, theirs.samplers)
    assert ours.tokens == theirs.tokens
    again = fingerprint(source_of(BaseSource(str(both[1]))).opened())
    assert again == lone.profile.fingerprint, "what is made is the same each time"


def test_what_a_lone_file_lacks_is_told(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone = Path(shutil.copy(both[1], tmp_path / "it.safetensors"))

    def nowhere(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("workers.models.lone.snapshot_download", nowhere)
    with pytest.raises(
        Unservable, match=r"no tokenizer: put vocab.json and merges.txt of \S+ into \S+it/tokenizer, or"
    ):
        loaded(lone)
    named = {"source": str(lone), "tokenizer": str(both[0] / "tokenizer")}
    assert look("it", settings(named)).profile.tokens["text_encoder"] == 77
    monkeypatch.setattr("workers.models.lone.snapshot_download", lambda *_, **__: str(both[0] / "tokenizer"))
    assert look("it", settings(str(lone))).profile.tokens["text_encoder"] == 77
    tensors = load_file(lone)
    save_file({name: one for name, one in tensors.items() if not name.startswith("first_stage_model.")}, lone)
    with pytest.raises(Unservable, match="has no weights of its vae: name a folder or a file of them as `vae`"):
        loaded(lone)
    assert look("it", settings({"source": str(lone), "vae": str(both[0] / "vae")})).profile.width == 512
    save_file({name: one for name, one in tensors.items() if "token_embedding" not in name}, lone)
    with pytest.raises(Unservable, match=r"it is like a Stable Diffusion .* and lacks .*token_embedding"):
        loaded(lone)


def test_a_file_that_says_that_it_predicts_velocity_is_drawn_so(both: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(both[1].with_suffix(""), tmp_path / "it")
    save_file(load_file(both[1]) | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "it.safetensors")
    config = loaded(tmp_path / "it.safetensors").pipeline.scheduler.config
    assert config.prediction_type == "v_prediction" and config.rescale_betas_zero_snr


def test_every_header_is_read_once(both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    for module in (model_folder, checkpoint):
        monkeypatch.setattr(module, "header_of", lambda file: read.append(str(file)) or weight_files.header_of(file))
    for source in both:
        look("it", settings(str(source)))
        assert read and len(set(read)) == len(read), read
        read.clear()


def settings(source: Any) -> Settings:
    return Settings(models={"it": source})  # type: ignore[call-arg]
