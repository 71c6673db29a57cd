"""A folder's processors as what a prompt needs of them, their tokenizer: their other half needs torchvision.

FLUX.2, Kandinsky 5, Qwen-Image 2.1 and others name a processor of text, pictures and videos where they read a prompt
alone. PyPI's torchvision beside another build of torch breaks every import of a model of transformers.
"""

from typing import Any

from transformers import ProcessorMixin

from workers.models.folder import ModelFolder

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")  # a processor of pictures alone has neither


class PromptProcessor(ProcessorMixin):
    """A processor of text alone, called and loaded as the one whose tokenizer and chat template it has."""

    def __init__(self, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(tokenizer, chat_template=chat_template)

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **options: Any) -> Any:
        """Return the tokens of each of the texts; one text alone is a batch of one, as with those of pictures."""
        return super().__call__(images, [text] if isinstance(text, str) else text, videos, **options)


def of_prompts(folder: ModelFolder) -> dict[str, list[str]]:
    """Return the components that are processors with a tokenizer, each with our class in place of its own."""
    # diffusers takes a class from a module that has been imported, by its full name
    ours = [PromptProcessor.__module__, PromptProcessor.__name__]
    return {
        part: ours
        for part, (library, name) in folder.components()
        if library == "transformers"
        and name.endswith("Processor")
        and any((folder.place(part) / one).is_file() for one in TOKENIZERS)
    }
