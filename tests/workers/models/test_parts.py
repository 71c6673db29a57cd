"""Parts of a base from elsewhere: another VAE, a transformer in a file of its own, a text encoder that is left out."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.quantizers.quantization_config import GGUFQuantizationConfig
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer

from app.shared.base_source import BaseSource
from tests.families import original
from tests.families.parts import kl_codec
from tests.families.pixart import FAMILIES as PIXART
from tests.families.stable_diffusion import sd15
from tests.families.stable_diffusion_3 import FAMILIES as SD_3
from tests.families.tokenizers import WORDS
from tests.families.z_image import z_image
from tests.families.z_image_file import as_gguf, in_original_names
from tests.workers.models.test_sources import drawn, image_of, loaded
from workers.models.sources import source_of
from workers.models.weight_files import Stored, Unservable, dtype_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of a scheduler


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("parts") / "whole"
    sd15(at)
    return at


@pytest.fixture(scope="module")
def other(whole: Path) -> Path:
    """A folder that differs from the whole one in its VAE."""
    at = Path(shutil.copytree(whole, whole.with_name("other")))
    torch.manual_seed(5)
    codec = kl_codec()
    for weight in codec.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    codec.save_pretrained(at / "vae")
    return at


def as_folder(other: Path, _: Path) -> Path:
    return other / "vae"


def as_part_of_a_folder(other: Path, _: Path) -> Path:
    return other


def as_file(other: Path, at: Path) -> Path:
    """As VAEs are passed around: in the original names, without the start that they have in a whole checkpoint."""
    save_file(dict(original._codec(original.weights(other / "vae"))), at / "vae.safetensors")
    return at / "vae.safetensors"


@pytest.mark.parametrize("place", [as_folder, as_part_of_a_folder, as_file])
def test_a_vae_is_taken_from_elsewhere(
    whole: Path, other: Path, tmp_path: Path, place: Callable[[Path, Path], Path]
) -> None:
    there = place(other, tmp_path)
    wanted = drawn(loaded(other))
    base = loaded({"source": str(whole), "vae": str(there)})
    assert np.array_equal(drawn(base), wanted)
    assert not np.array_equal(drawn(loaded(whole)), wanted)
    assert base.profile.fingerprint != loaded(whole).profile.fingerprint
    own = Path(shutil.copytree(whole, tmp_path / "own"))
    (own / "radiata.json").write_text(json.dumps({"vae": str(there), "steps": 9}))
    said = loaded(own)
    assert np.array_equal(drawn(said), wanted) and said.profile.steps == 9
    assert said.profile.fingerprint == base.profile.fingerprint


def test_a_dtype_of_a_base_is_in_place_of_the_setting(whole: Path) -> None:
    assert loaded({"source": str(whole), "dtype": "bfloat16"}).profile.dtype == "bfloat16"


def test_a_text_encoder_is_left_out(tmp_path: Path) -> None:
    SD_3[0].build(tmp_path)
    (tmp_path / "radiata.json").write_text('{"text_encoder_3": null, "tokenizer_3": null}')
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(tmp_path / part)
    base = loaded(tmp_path)
    assert "text_encoder_3" not in base.profile.components
    theirs = StableDiffusion3Pipeline.from_pretrained(
        tmp_path, text_encoder_3=None, tokenizer_3=None, local_files_only=True
    )
    theirs.set_progress_bar_config(disable=True)
    assert np.array_equal(drawn(base), drawn(replace(base, pipeline=theirs)))
    assert base.facts() and base.profile.tokens


@pytest.mark.parametrize("start", ["", "model.diffusion_model."])
@pytest.mark.parametrize("written", [in_original_names, dict], ids=["original", "diffusers"])
def test_a_file_has_the_transformer_and_the_folder_the_rest(
    tmp_path: Path, start: str, written: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    z_image(tmp_path / "whole")
    rest = Path(shutil.copytree(tmp_path / "whole", tmp_path / "single"))
    tensors = written(original.weights(rest / "transformer"))
    for file in (rest / "transformer").glob("*.safetensors"):
        file.unlink()
    save_file({f"{start}{name}": tensor for name, tensor in tensors.items()}, tmp_path / "single.safetensors")
    one, other = loaded(tmp_path / "whole"), loaded(tmp_path / "single.safetensors")
    assert np.array_equal(drawn(one), drawn(other))


def test_a_t5_without_a_fast_tokenizer_is_read(tmp_path: Path) -> None:
    """As PixArt's folders on the hub have it: `spiece.model` and a configuration."""
    PIXART[0].build(tmp_path / "model")
    folder = tmp_path / "model" / "tokenizer"
    SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 50),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=90,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    shutil.rmtree(folder)
    folder.mkdir()
    shutil.copy(tmp_path / "spiece.model", folder / "spiece.model")
    config = {"tokenizer_class": "T5Tokenizer", "model_max_length": 300, "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    base = loaded(tmp_path / "model")
    read = base.pipeline.tokenizer("a red apple")["input_ids"]
    assert base.pipeline.tokenizer.unk_token_id not in read and len(read) > 3


@pytest.mark.parametrize(
    ("pipeline", "part", "spare"),
    [
        ("StableDiffusionXLPipeline", "text_encoder_2", False),
        ("StableDiffusionXLPipeline", "tokenizer_2", False),
        ("StableDiffusionXLPipeline", "image_encoder", True),
        ("KandinskyV22CombinedPipeline", "prior_text_encoder", False),
        ("StableDiffusion3Pipeline", "text_encoder_2", False),
        ("StableDiffusion3Pipeline", "text_encoder_3", True),
    ],
)
def test_what_reads_the_prompt_is_left_out_only_where_a_picture_is_drawn_without(
    tmp_path: Path, pipeline: str, part: str, spare: bool
) -> None:
    index = {"_class_name": pipeline, "unet": ["diffusers", "UNet2DConditionModel"], part: ["transformers", "X"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    said = BaseSource(str(tmp_path), parts={part: None})
    with nullcontext() if spare else pytest.raises(Unservable, match=f"`{part}` of .* cannot be left out"):
        assert source_of(said).parts == {part: None}


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        ({"vea": "/a"}, Unservable, "model_index.json names no part 'vea'; it has .*vae"),
        ({"vae": "/no/such"}, FileNotFoundError, "vae: there is no folder or file '/no/such'"),
        ({"vae": __file__}, Unservable, "is opened by nothing here"),
        ({"vae": str(Path(__file__).parent)}, Unservable, "has no weights"),
        ({"image_encoder.own": str(Path(__file__).parent)}, Unservable, "'own' is what image_encoder is called"),
        ({"image_encoder.b": str(Path(__file__).parent)}, Unservable, "has no weights"),
        ({"image_encoder.../b": "/a"}, Unservable, "names no part 'image_encoder.../b'"),
        ({"text_encoder": None}, Unservable, "`text_encoder` of .* cannot be left out"),
    ],
)
def test_a_part_that_cannot_be_taken_is_said(whole: Path, said: dict[str, Any], kind: type, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        loaded({"source": str(whole), **said})


def test_a_transformer_from_gguf_is_drawn_with_as_it_is_quantised(tmp_path: Path) -> None:
    z_image(tmp_path / "single")
    tensors = as_gguf(tmp_path / "single", tmp_path / "single.gguf")
    shutil.copytree(tmp_path / "single", tmp_path / "dense")
    save_file(tensors, tmp_path / "dense.safetensors")
    base = loaded({"source": str(tmp_path / "single.gguf"), "dtype": "float32"})
    dense = loaded(tmp_path / "dense.safetensors")
    assert (base.profile.quantised, dense.profile.quantised) == (["Q8_0"], [])
    assert base.shapes() == dense.shapes()
    assert abs(image_of(base) - image_of(dense)).max() < 1 / 255  # diffusers makes numbers of Q8_0 in float16
    theirs = ZImageTransformer2DModel.from_single_file(
        str(tmp_path / "single.gguf"),
        config=str(tmp_path / "single"),
        subfolder="transformer",
        quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
        torch_dtype=torch.float32,
    )
    drawn_here = image_of(base)
    base.pipeline.transformer = theirs
    assert np.array_equal(image_of(base), drawn_here)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K", "Q8_0", "IQ4_XS", "TQ1_0", "BF16", "F8_E4M3"])
def test_what_is_quantised_is_computed_with_in_bfloat16(kind: str) -> None:
    assert dtype_of([Stored(kind, (64, 64)), Stored("F32", (64,)), Stored("I64", (9999,))]) is torch.bfloat16
