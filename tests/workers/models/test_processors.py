"""A processor of text and pictures is loaded as its tokenizer, and calls as it did."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from workers.models.folder import ModelFolder
from workers.models.linked import linked
from workers.models.processors import PromptProcessor

TEMPLATE = "{% for message in messages %}{% for part in message.content %}{{ part.text }} {% endfor %}{% endfor %}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    backend = Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1, "a": 2, "red": 3, "apple": 4}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "feature_extractor").mkdir()
    index = {
        "_class_name": "X",
        "tokenizer": ["transformers", "PixtralProcessor"],  # needs torchvision
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "unet": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    return tmp_path


def test_only_a_processor_with_a_tokenizer_is_named_anew(folder: Path) -> None:
    before = (folder / "model_index.json").read_text()
    with linked(ModelFolder(folder)) as source:
        index = json.loads((source / "model_index.json").read_text())
        assert index["tokenizer"] == [PromptProcessor.__module__, "PromptProcessor"]
        assert index | {"tokenizer": ["transformers", "PixtralProcessor"]} == json.loads(before)
        assert sorted(path.name for path in source.iterdir()) == sorted(path.name for path in folder.iterdir())
    assert (folder / "model_index.json").read_text() == before
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    with linked(ModelFolder(folder)) as source:
        assert source == folder


def test_a_prompt_processor_is_called_as_a_processor_and_reads_as_its_tokenizer(folder: Path) -> None:
    ours = PromptProcessor.from_pretrained(folder / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    texts = ["a red apple", "apple"]
    assert dict(ours(text=texts, images=None, videos=None, padding=True))["input_ids"] == [[2, 3, 4], [4, 1, 1]]
    conversation = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in texts]
    options = {"tokenize": True, "return_dict": True, "padding": "max_length", "truncation": True, "max_length": 4}
    for reader in (ours, tokenizer):
        read: Any = reader.apply_chat_template(conversation, **options)
        assert read["input_ids"] == [[2, 3, 4, 1], [4, 1, 1, 1]]
    assert ours(text="apple")["input_ids"] == [[4]]  # a batch of one, where a tokenizer alone gives none
