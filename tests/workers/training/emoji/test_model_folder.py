"""The bundled folder: small, complete, and in step with the training set."""

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

import workers.models
from lycoris import load
from workers.training.emoji import items
from workers.training.factors import RECIPES

FOLDER = Path(workers.models.__path__[0]) / "emoji-64"
ADAPTERS = sorted((FOLDER / "adapters").glob("*.safetensors"))


def test_folder_is_at_most_25_megabytes() -> None:
    total = sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file())
    assert total <= 25_000_000, f"{total:,} bytes"


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
    algorithm = file.stem.rpartition("-")[2]
    assert algorithm in RECIPES
    assert file.stat().st_size <= 600_000
    assert adapter.metadata["ss_base_model_version"] == "emoji-64"
    assert adapter.metadata["modelspec.description"]
    assert adapter.metadata["modelspec.license"]


def test_two_styles_of_four_algorithms() -> None:
    assert [file.stem for file in ADAPTERS] == sorted(
        f"{style}-{algorithm}" for style in ("fluent-3d", "striped") for algorithm in RECIPES
    )
