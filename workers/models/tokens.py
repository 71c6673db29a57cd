"""How many tokens a prompt is, for each tokenizer of a pipeline, and how many its text encoder reads."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from app.shared.facts import TokenizerFile
from workers.models.call import default_of
from workers.models.families import Reads, family_of

# A pipeline's tokenizers; a processor beside one is of pictures, or writes other prompts
TOKENIZER = re.compile(r"(?P<part>prior_)?(tokenizer|processor)(?P<slot>_\d)?")
UNLIMITED = 2**31  # tokens: of an encoder that is given every prompt whole
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
    """One tokenizer of a pipeline, and the most tokens of a prompt that its text encoder reads."""

    component: str
    tokenizer: Any
    most: int

    def count(self, *parts: str) -> int:
        """Return how many tokens a prompt is, read part by part; those of beginning and end are among them."""
        if len(parts) == 1:
            return _count(self.tokenizer, parts[0])
        read = (self.tokenizer(part, add_special_tokens=False, verbose=False).input_ids for part in parts)
        return _count(self.tokenizer, "") + sum(map(len, read))


def readers(pipeline: Any) -> Iterator[Reader]:
    """Yield the tokenizers of a pipeline that its prompt goes to."""
    parts = getattr(pipeline, "components", None) or vars(pipeline)
    family = family_of(pipeline)
    for name, part in parts.items():
        named = TOKENIZER.fullmatch(name)
        if named is None or part is None or (named[2] == "processor" and parts.get("tokenizer") is not None):
            continue
        slot = named["slot"] or ""
        reads = family.reads.get(slot, Reads())
        if reads is not None:
            tokenizer = getattr(part, "tokenizer", part)
            most = _most(pipeline, tokenizer, reads)
            yield Reader(f"{named['part'] or ''}text_encoder{slot}", tokenizer, most)


def limits(pipeline: Any) -> dict[str, int]:
    """Return how many tokens of a prompt each text encoder reads, without those that read all."""
    return {reader.component: reader.most for reader in readers(pipeline) if reader.most < UNLIMITED}


def _most(pipeline: Any, tokenizer: Any, reads: Reads) -> int:
    """Return how many tokens of a prompt are read: of what the pipeline has it read, less the template around it."""
    longest = default_of(pipeline, "max_sequence_length", int)
    longest = UNLIMITED if longest is None else longest
    if callable(reads.most):
        most = reads.most(pipeline, longest)
    elif reads.most is not None:
        most = reads.most
    else:
        most = min(tokenizer.model_max_length, longest)
    template = _count(tokenizer, reads.template(pipeline).replace("{}", "")) - _count(tokenizer, "")
    return min(most - template, UNLIMITED)


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)


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
        files.append(TokenizerFile(component=reader.component, text=text, most=reader.most))
    return files
