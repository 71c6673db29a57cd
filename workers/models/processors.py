"""A folder's processors as what a prompt needs of them, their tokenizer: their other half needs torchvision.

FLUX.2, Kandinsky 5, Qwen-Image 2.1 and others name a processor of text, pictures and videos where they read a prompt
alone. PyPI's torchvision beside another build of torch breaks every import of a model of transformers. Where a pipeline
has the pictures read that it is shown, its processor is one of pictures too, without the half for videos.
"""

import json
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin, Qwen2VLProcessor

from workers.models.folder import ModelFolder
from workers.models.references import SHOWN

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")  # a processor of pictures alone has neither

SEEING = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")


class PromptProcessor(ProcessorMixin):
    """A processor of text alone, called and loaded as the one whose tokenizer and chat template it has."""

    def __init__(self, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(tokenizer, chat_template=chat_template)

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **options: Any) -> Any:
        """Return the tokens of each of the texts; one text alone is a batch of one, as with those of pictures."""
        return super().__call__(images, [text] if isinstance(text, str) else text, videos, **options)


class PictureProcessor(Qwen2VLProcessor):
    """A processor of text and pictures for Qwen 2.5 VL and Qwen 3 VL, which write a picture's places alike."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([self.image_token, self.video_token])


def _has_pictures(folder: Path) -> bool:
    """Tell whether a processor's folder says how it reads pictures: in a file of its own, or as transformers 5 does."""
    own, all_of_it = folder / "preprocessor_config.json", folder / "processor_config.json"
    return own.is_file() or (all_of_it.is_file() and "image_processor" in json.loads(all_of_it.read_text()))


def of_prompts(folder: ModelFolder) -> dict[str, list[str]]:
    """Return the components that are processors with a tokenizer, each with our class in place of its own."""
    shown = folder.index["_class_name"] in SHOWN

    def ours(part: str, name: str) -> list[str]:
        sees = shown and name in SEEING and _has_pictures(folder.place(part))
        # diffusers takes a class from a module that has been imported, by its full name
        kind = PictureProcessor if sees else PromptProcessor
        return [kind.__module__, kind.__name__]

    return {
        part: ours(part, name)
        for part, (library, name) in folder.components()
        if library == "transformers"
        and name.endswith("Processor")
        and any((folder.place(part) / one).is_file() for one in TOKENIZERS)
    }
