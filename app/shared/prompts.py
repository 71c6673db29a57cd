"""The texts of a request: which text encoder of a base reads which of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.shared.wire.generation import Picture

SECOND = "text_encoder_2"  # which reads a text of its own, where a request has one
PROMPTS = {"prompt": "prompt_2", "negative_prompt": "negative_prompt_2"}  # and what is read by the second instead


class Text(NamedTuple):
    """One text of a request, and the places of those that read it in a list of text encoders."""

    field: str
    text: str
    readers: list[int]


def texts(asked: Picture, encoders: Sequence[str]) -> Iterator[Text]:
    """Yield the texts of a request. encoders: the names of the base's text encoders."""
    for field, other in PROMPTS.items():
        text, second = getattr(asked, field), getattr(asked, other)
        own = [at for at, encoder in enumerate(encoders) if second is not None and encoder == SECOND]
        yield Text(field, text, [at for at in range(len(encoders)) if at not in own])
        if second is not None:
            yield Text(other, second, own)
