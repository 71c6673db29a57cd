"""The bundled folder: small, complete, and in step with the training set."""

import json
from pathlib import Path

import pytest
from diffusers.models.adapter import T2IAdapter
from safetensors.torch import load_file
from transformers import CLIPTokenizer, CLIPVisionModelWithProjection

import workers.models
from lycoris import load
from workers.control.classes import class_of
from workers.training.emoji import items

FOLDER = Path(workers.models.__path__[0]) / "emoji-64"
FILES = sorted((FOLDER / "adapters").glob("*.safetensors"))
GUIDED = ("edges-t2i", "reference-ip")
ALGORITHMS = ("locon", "loha", "lokr", "lora")
ADAPTERS = [file for file in FILES if file.stem not in GUIDED]


def _size(*places: Path) -> int:
    return sum(file.stat().st_size for place in places for file in (place, *place.rglob("*")) if file.is_file())


def test_folder_is_at_most_31_megabytes_of_which_at_most_6_read_pictures() -> None:
    assert _size(FOLDER) <= 31_000_000, f"{_size(FOLDER):,} bytes"
    guided = _size(FOLDER / "image_encoder", *(file for file in FILES if file.stem in GUIDED))
    assert guided <= 6_000_000, f"{guided:,} bytes"


def test_vocabulary_matches_the_items() -> None:
    vocabulary = json.loads((FOLDER / "vocabulary.json").read_text(encoding="utf-8"))
    trained, held_out = set(vocabulary["trained"]), set(vocabulary["held_out"])
    assert not trained & held_out
    assert held_out == set(items.FACTS["held_out"])
    assert set(items.FACTS["core"]) | set(items.FACTS["hands"]) <= trained
    assert len(trained) + len(held_out) == 922
    assert vocabulary["suggestions"]


def test_any_prompt_tokenizes_and_filler_words_cost_little() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(FOLDER / "tokenizer", local_files_only=True)
    for text in ("a photo of a cat", "a cute dog", "émojis 漢字 🍎 \u0000", ""):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert tokenizer.unk_token_id not in ids[1:-1], f"{text!r} holds a piece that no token stands for"
    for text in (*items.FACTS["core"], *items.FACTS["held_out"]):
        length = len(tokenizer(f"a photo of a {text}").input_ids)
        assert length <= 24, f"{text!r} with filler words is {length} tokens long"


@pytest.mark.parametrize("file", ADAPTERS, ids=lambda file: file.stem)
def test_bundled_adapters_say_what_they_are(file: Path) -> None:
    adapter = load(file)
    assert file.stat().st_size <= 600_000
    assert adapter.metadata["ss_base_model_version"] == "emoji-64"
    assert adapter.metadata["modelspec.description"]
    assert adapter.metadata["modelspec.license"]


def test_two_styles_of_four_algorithms() -> None:
    assert [file.stem for file in ADAPTERS] == sorted(
        f"{style}-{algorithm}" for style in ("fluent-3d", "striped") for algorithm in ALGORITHMS
    )


@pytest.mark.parametrize("name", GUIDED)
def test_what_reads_a_picture_says_what_it_is(name: str) -> None:
    data = (FOLDER / "adapters" / f"{name}.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    said = header.pop("__metadata__")
    assert {tensor["dtype"] for tensor in header.values()} == {"F16"}
    assert said["ss_base_model_version"] == "emoji-64"
    assert said["modelspec.description"] and said["modelspec.license"]


def test_the_control_is_a_t2i_adapter_beside_the_unet() -> None:
    tensors = load_file(FOLDER / "adapters" / "edges-t2i.safetensors")
    assert (found := class_of(tensors)) and found.made is T2IAdapter
    channels = json.loads((FOLDER / "unet/config.json").read_text())["block_out_channels"]
    T2IAdapter(in_channels=1, channels=channels, num_res_blocks=2).load_state_dict(tensors)


def test_the_image_prompt_reads_the_encoder_that_the_base_names() -> None:
    own = json.loads((FOLDER / "radiata.json").read_text(encoding="utf-8"))
    encoder = CLIPVisionModelWithProjection.from_pretrained(FOLDER / own["image_encoder"], local_files_only=True)
    adapter = load(FOLDER / "adapters" / "reference-ip.safetensors")
    assert adapter.image_prompt["image_proj.proj.weight"].shape[1] == encoder.config.projection_dim
    assert not adapter.layers
