"""Folders that name a processor of text and pictures where a prompt needs its tokenizer alone."""

import json
from pathlib import Path
from typing import Any

from transformers import Qwen2VLImageProcessorPil

from tests.families.family import opened
from workers.models.folder import ModelFolder
from workers.models.linked import linked
from workers.models.processors import PictureProcessor, PromptProcessor

INDEX = "model_index.json"


def processor(tokenizer: Any) -> PromptProcessor:
    """A processor that can be made where torchvision is not."""
    return PromptProcessor(tokenizer, chat_template=tokenizer.chat_template)


def seeing(tokenizer: Any, patch: int = 14) -> PictureProcessor:
    """A processor of pictures too; patch: pixels of an edge of what is one token before four are merged."""
    return PictureProcessor(Qwen2VLImageProcessorPil(patch_size=patch), tokenizer, tokenizer.chat_template)


def save_as(pipeline: Any, folder: Path, **kinds: str) -> None:
    """Save a pipeline, its processors under the names of transformers' classes that the family's folders have."""
    pipeline.save_pretrained(folder)
    index = json.loads((folder / INDEX).read_text())
    index |= {part: ["transformers", kind] for part, kind in kinds.items()}
    (folder / INDEX).write_text(json.dumps(index, indent=2))


def opened_for_text(folder: Path) -> Any:
    """The pipeline as diffusers opens it where torchvision is not: with processors of text alone."""
    with linked(ModelFolder(folder)) as source:
        return opened(source)
