"""How many tokens a prompt is, for each tokenizer of a pipeline, and how many its text encoder reads."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from app.shared.facts import TokenizerFile

SLOTS = ("", "_2", "_3")  # a pipeline's tokenizers, and the text encoders that they are for
# What a tokenizer that was written down has to count as the pipeline's own does
SAMPLES = (
    *(
        "",
        "a",
        "A red apple.",
        "  two  blanks\n\nand lines ",
        "naïve café",
        "猫と蝶",
        "🦋👩\u200d🚀",
        "(a:1.2), [b|c] <lora:x:1>",
    ),
    *("1234567890" * 5, "supercalifragilistic" * 4, "ﷺ½①", "e\u0301\u00ad\u200b", "</s> <|endoftext|> [PAD]"),
)


class Reader(NamedTuple):
    """One tokenizer of a pipeline."""

    component: str
    tokenizer: Any
    most: int

    def count(self, prompt: str) -> int:
        """Return how many tokens a prompt is, those of beginning and end among them."""
        return len(self.tokenizer(prompt, truncation=False, verbose=False).input_ids)


def readers(pipeline: Any) -> Iterator[Reader]:
    """Yield the tokenizers that a pipeline has."""
    for slot in SLOTS:
        tokenizer = getattr(pipeline, f"tokenizer{slot}", None)
        if tokenizer is not None:
            yield Reader(f"text_encoder{slot}", tokenizer, tokenizer.model_max_length)


def written(pipeline: Any) -> list[TokenizerFile] | None:
    """Return a pipeline's tokenizers as files; None if one of them cannot be written down or would count otherwise."""
    files = []
    for reader in readers(pipeline):
        backend = getattr(reader.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return None
        text = backend.to_str()
        again = Tokenizer.from_str(text)
        again.no_truncation()
        again.no_padding()
        if any(len(again.encode(sample).ids) != reader.count(sample) for sample in SAMPLES):
            return None
        files.append(TokenizerFile(component=reader.component, text=text, most=min(reader.most, 2**31)))
    return files
