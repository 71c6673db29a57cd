"""A folder's processors as what a prompt needs of them, their tokenizer: their other half needs torchvision.

FLUX.2, Kandinsky 5, Qwen-Image 2.1 and others name a processor of text, pictures and videos where they read a prompt
alone. PyPI's torchvision beside another build of torch breaks every import of a model of transformers.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import ProcessorMixin

INDEX = "model_index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")  # a processor of pictures alone has neither


class PromptProcessor(ProcessorMixin):
    """A processor of text alone, called and loaded as the one whose tokenizer and chat template it has."""

    def __init__(self, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(tokenizer, chat_template=chat_template)

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **options: Any) -> Any:
        """Return the tokens of each of the texts; one text alone is a batch of one, as with those of pictures."""
        return super().__call__(images, [text] if isinstance(text, str) else text, videos, **options)


@contextmanager
def with_prompt_processors(folder: Path) -> Iterator[Path]:
    """Yield a folder to load the model in `folder` from: it, or one of links to it whose index names our processors."""
    index = json.loads((folder / INDEX).read_text())
    # diffusers takes a class from a module that has been imported, by its full name
    ours = {part: [PromptProcessor.__module__, PromptProcessor.__name__] for part in _of_prompts(folder, index)}
    if not ours:
        yield folder
        return
    with TemporaryDirectory(prefix="radiata-") as name:
        linked = Path(name)
        for part in folder.iterdir():
            if part.name != INDEX:
                (linked / part.name).symlink_to(part.resolve())
        (linked / INDEX).write_text(json.dumps(index | ours))
        yield linked


def _of_prompts(folder: Path, index: dict[str, Any]) -> Iterator[str]:
    """Yield the components that are processors with a tokenizer."""
    for part, kind in index.items():
        named = isinstance(kind, list) and len(kind) == 2 and kind[0] == "transformers"
        if named and str(kind[1]).endswith("Processor") and any((folder / part / one).is_file() for one in TOKENIZERS):
            yield part
