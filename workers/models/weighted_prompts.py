"""Weighted prompts, and prompts longer than a CLIP reads: what a pipeline is called with in place of their texts.

compel encodes the parts of a text by their weights (away from, or towards, what the encoder makes of no text), and a
text that is too long for a CLIP piece by piece. What each family puts around a prompt, and which state of which encoder
it draws by, is as in its pipeline: a text whose parts all weigh 1 gives what its pipeline makes of it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from app.shared.prompts import PROMPTS, Part, joined, parts_of
from app.shared.wire.generation import Picture
from workers.models.call import default_of
from workers.models.families import family_of, instructed_length

LAST, PENULTIMATE = "LAST_HIDDEN_STATES_NORMALIZED", "PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED"  # compel's names
Parts = dict[str, list[Part]]  # by field of a request


def can_weigh(pipeline: Any) -> bool:
    """Tell whether a pipeline's prompts can be weighted."""
    return type(pipeline).__name__ in ARGUMENTS


def reads_any_length(pipeline: Any) -> bool:
    """Tell whether a pipeline's weighted prompts are read whole, however long they are: piece by piece."""
    return type(pipeline).__name__ in IN_PIECES


def weighted_arguments(pipeline: Any, asked: Picture) -> dict[str, Any]:
    """Return what a pipeline is called with in place of the texts of a weighted request."""
    texts = {name: getattr(asked, name) for pair in PROMPTS.items() for name in pair}
    for name, other in PROMPTS.items():
        texts[other] = texts[name] if texts[other] is None else texts[other]
    return ARGUMENTS[type(pipeline).__name__](pipeline, {name: parts_of(asked, text) for name, text in texts.items()})


def _stable_diffusion(pipeline: Any, parts: Parts) -> dict[str, Any]:
    encoder = _encoder(pipeline, "", LAST)
    embeds, negative = _equally_long(
        (encoder, _embeds(encoder, parts["prompt"])), (encoder, _embeds(encoder, parts["negative_prompt"]))
    )
    return {"prompt_embeds": embeds, "negative_prompt_embeds": negative}


def _stable_diffusion_xl(pipeline: Any, parts: Parts) -> dict[str, Any]:
    first, second = _encoder(pipeline, "", PENULTIMATE), _encoder(pipeline, "_2", PENULTIMATE)
    read = [(first, name) for name in PROMPTS] + [(second, name) for name in PROMPTS.values()]
    found = _equally_long(*((encoder, _embeds(encoder, parts[name])) for encoder, name in read))
    negative = {
        "negative_prompt_embeds": torch.cat([found[1], found[3]], dim=-1),
        "negative_pooled_prompt_embeds": second.get_pooled_embeddings([_text(parts["negative_prompt_2"])]),
    }
    none = not _text(parts["negative_prompt"]) and not _text(parts["negative_prompt_2"])
    if none and pipeline.config.force_zeros_for_empty_prompt:
        negative = {name: torch.zeros_like(embeds) for name, embeds in negative.items()}
    return negative | {
        "prompt_embeds": torch.cat([found[0], found[2]], dim=-1),
        # Of a whole text, whatever its parts weigh, as far as the encoder reads it at once
        "pooled_prompt_embeds": second.get_pooled_embeddings([_text(parts["prompt_2"])]),
    }


def _flux(pipeline: Any, parts: Parts) -> dict[str, Any]:
    """The pooled text of the first encoder is of the whole, whatever its parts weigh."""
    second = _encoder(pipeline, "_2", LAST, most=_longest(pipeline))
    pooled = _encoder(pipeline, "", LAST).get_pooled_embeddings([_text(parts["prompt"])])
    return {"prompt_embeds": _embeds(second, parts["prompt_2"]), "pooled_prompt_embeds": pooled}


def _sana(pipeline: Any, parts: Parts) -> dict[str, Any]:
    longest = _longest(pipeline)
    most = instructed_length(pipeline, longest)
    shown = [0, *range(1 - longest, 0)]  # of the instruction the pipeline keeps the first token alone
    lowered = {name: _stripped(Part(text.lower(), weight) for text, weight in of) for name, of in parts.items()}
    with_it = joined([_before(pipeline), *lowered["prompt"]])
    embeds, mask = _masked(_encoder(pipeline, "", LAST, most, padding=0), with_it)
    negative, negative_mask = _masked(_encoder(pipeline, "", LAST, longest, padding=0), lowered["negative_prompt"])
    return {
        "prompt_embeds": embeds[:, shown],
        "prompt_attention_mask": mask[:, shown],
        "negative_prompt_embeds": negative,
        "negative_prompt_attention_mask": negative_mask,
    }


def _lumina(pipeline: Any, parts: Parts) -> dict[str, Any]:
    encoder = _encoder(pipeline, "", PENULTIMATE, _longest(pipeline), padding=0)
    embeds, mask = _masked(encoder, joined([_before(pipeline), *parts["prompt"]]))
    negative, negative_mask = _masked(encoder, parts["negative_prompt"])
    return {
        "prompt_embeds": embeds,
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": negative,
        "negative_prompt_attention_mask": negative_mask,
    }


ARGUMENTS: dict[str, Callable[[Any, Parts], dict[str, Any]]] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _stable_diffusion_xl,
    "FluxPipeline": _flux,
    "SanaPipeline": _sana,
    "Lumina2Pipeline": _lumina,
}
IN_PIECES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


def _encoder(pipeline: Any, slot: str, state: str, most: int | None = None, padding: int = 1) -> Any:
    """Return compel's reader of a text encoder.

    state: which of the encoder's states the pipeline draws by. most: tokens of a text, which is filled up to as many;
    without it, pieces of as many as its tokenizer says. padding: whether it attends to what fills them up.
    """
    from compel import EmbeddingsProvider, ReturnedEmbeddingsType, SplitLongTextMode  # half a second, for few requests

    tokenizer = getattr(pipeline, f"tokenizer{slot}")
    return EmbeddingsProvider(
        tokenizer,
        getattr(pipeline, f"text_encoder{slot}"),
        truncate=most is not None,
        padding_attention_mask_value=padding,
        returned_embeddings_type=ReturnedEmbeddingsType[state],
        split_long_text_mode=SplitLongTextMode.SENTENCES,
        model_max_length=most,
        suppress_eos=tokenizer("a").input_ids[-1] != tokenizer.eos_token_id,
    )


def _embeds(encoder: Any, parts: Sequence[Part]) -> Tensor:
    """Return what an encoder makes of a text: (1, tokens, width)."""
    return _read(encoder, parts)[0]


def _masked(encoder: Any, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """Return what an encoder makes of a text, and which of its tokens are the text's: (1, tokens)."""
    embeds, tokens = _read(encoder, parts)
    return embeds, (tokens != encoder.tokenizer.pad_token_id).long()


def _read(encoder: Any, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    texts, weights = zip(*parts, strict=True)
    return encoder.get_embeddings_for_weighted_prompt_fragments(
        text_batch=[list(texts)],
        fragment_weights_batch=[list(weights)],
        should_return_tokens=True,
        device=encoder.device,
    )


def _equally_long(*read: tuple[Any, Tensor]) -> list[Tensor]:
    """Return texts of as many pieces each, the shorter ones filled up with pieces of no text."""
    longest = max(embeds.shape[1] for _, embeds in read)
    return [
        torch.cat([embeds, *[encoder.empty_z] * ((longest - embeds.shape[1]) // encoder.empty_z.shape[1])], dim=1)
        for encoder, embeds in read
    ]


def _stripped(parts: Iterable[Part]) -> list[Part]:
    """Return a text's parts without the blanks around it; all but the first have theirs in front."""
    first, *others = parts
    *others, last = [Part(first.text.lstrip(), first.weight), *others]
    return [*others, Part(last.text.rstrip(), last.weight)]


def _text(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts)


def _longest(pipeline: Any) -> int:
    return default_of(pipeline, "max_sequence_length", int)


def _before(pipeline: Any) -> Part:
    """Return what the pipeline writes in front of a prompt."""
    reads = family_of(pipeline).reads[""]
    assert reads is not None, "the prompt goes to the first text encoder"
    return Part(reads.template(pipeline).removesuffix("{}"), 1.0)
