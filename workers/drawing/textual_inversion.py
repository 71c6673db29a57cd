"""Embeddings of worn adapters: textual inversions, whose triggers mean their vectors in the prompts of one generation.

In a prompt a trigger is a whole word, in capitals or not, in whose place every text encoder reads the vectors that the
file has for it; in Chinese, Japanese, Thai and their like, which set no spaces between words, it is one wherever it
stands. The vectors are read as they are, whatever the adapter's strength, as A1111, ComfyUI and sdnext do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.shared.profiles import Shapes
from app.shared.words import teach
from lycoris import (
    EMBEDDING_PREFIX,
    TEXT_ENCODERS,
    Code,
    NoPlace,
    Reason,
    StackEntry,
    StackRefused,
    folded_trigger,
    usable_trigger,
)
from workers.models.loading import Base

Vectors = Mapping[str, Tensor]  # what files call a text encoder -> (n, width), or (width,) for one vector
Embeddings = Mapping[str, Vectors]  # trigger -> its vectors
POSITIONS = "position_embedding"
ENDS = 2  # of the positions of a CLIP, those of the marks for beginning and end
T5_READS = 512  # tokens that pipelines have a T5 read at most
NO_EOS = 2  # in old CLIPs' configurations: the end of a text is then looked for at the highest token id


@dataclass(frozen=True)
class Encoder:
    """A text encoder of a base: the component, its table of token vectors, and what fits there."""

    component: str
    table: str  # name of the parameter
    width: int
    reads: int  # vectors that it can read in one text


def encoders_of(shapes: Shapes) -> dict[str, Encoder]:
    """Return the text encoders of a base that embeddings may be for, by what files call them."""
    found: dict[str, Encoder] = {}
    for role, component, ending in TEXT_ENCODERS:
        parameters = shapes.get(component, {})
        table = next((name for name in parameters if name.endswith(ending)), None)
        if table is not None:
            positions = parameters.get(table.replace("token_embedding", POSITIONS)) if role != "t5" else None
            reads = positions[0] - ENDS if positions else T5_READS
            found[role] = Encoder(component, table, parameters[table][1], reads)
    return found


def misfits(embeddings: Embeddings, shapes: Shapes) -> Iterator[Reason]:
    """Yield everything for which the embeddings of an adapter cannot be used with a base of these shapes."""
    encoders = encoders_of(shapes)
    clips = {role for role in encoders if role.startswith("clip")}
    spelled: dict[str, str] = {}
    for trigger, vectors in embeddings.items():
        name = f"{EMBEDDING_PREFIX}{trigger}"
        if not usable_trigger(trigger):
            yield Reason(Code.BAD_NAME, name, "is called by nothing that can stand as a word in a prompt")
        if (first := spelled.setdefault(folded_trigger(trigger), trigger)) != trigger:
            message = f"is called by the same word as {first}: capitals and widths make no difference"
            yield Reason(Code.DUPLICATE, name, message)
        for role, rows in sorted(vectors.items()):
            if role not in encoders:
                known = ", ".join(f"{one.component} ({role})" for role, one in encoders.items()) or "none"
                message = f"has vectors for {role}; of the text encoders that take any, this model has {known}"
                yield Reason(Code.NO_COMPONENT, name, message)
                continue
            encoder, (count, width) = encoders[role], _rows(rows).shape
            if width != encoder.width or count > encoder.reads:
                found, most = f"{count} × {width} for {role}", f"{encoder.reads} × {encoder.width}"
                message = f"has vectors of {found}; this model's {encoder.component} reads at most {most}"
                yield Reason(Code.MISFIT, name, message)
        # The numbers of a pipeline's CLIPs go on side by side, so that half a word would be read as two
        if clips & vectors.keys() and (missing := clips - vectors.keys()):
            yield Reason(Code.INCOMPLETE, name, f"has no vectors for {', '.join(sorted(missing))}, which reads along")


@contextmanager
def words(base: Base, stack: Iterable[StackEntry]) -> Iterator[None]:
    """Let the prompts that the base's pipeline reads call the embeddings of those adapters that are worn at all.

    Afterwards tokenizers and text encoders are what they were. The tables of token vectors are asked, not copied, and
    stay where they are: a swap meanwhile finds them. Raises StackRefused for one trigger in two adapters, and NoPlace
    for an embedding that the base has no place for.
    """
    embeddings = _together(stack)
    if not embeddings:
        yield
        return
    shapes = base.shapes()
    if reasons := list(misfits(embeddings, shapes)):
        raise NoPlace(reasons)
    with ExitStack() as undo:
        for role, encoder in encoders_of(shapes).items():
            of_role = {trigger: _rows(held[role]) for trigger, held in embeddings.items() if role in held}
            if of_role:
                _teach(base.pipeline, encoder, of_role, undo)
        yield


def _together(stack: Iterable[StackEntry]) -> dict[str, Vectors]:
    """Return the embeddings of all adapters that are worn, by trigger."""
    adapters = {worn.adapter.sha256: worn.adapter for worn in stack if worn.strength or any(worn.strengths.values())}
    owners: dict[str, list[str]] = defaultdict(list)
    found: dict[str, Vectors] = {}
    for sha256, adapter in sorted(adapters.items()):
        for trigger, vectors in adapter.embeddings.items():
            owners[folded_trigger(trigger)].append(sha256)
            found[trigger] = vectors
    message = "is the trigger of embeddings in more than one adapter of the stack: {}"
    reasons = [Reason(Code.DUPLICATE, word, message.format(", ".join(of))) for word, of in owners.items() if of[1:]]
    if reasons:
        raise StackRefused(reasons)
    return found


def _teach(pipeline: Any, encoder: Encoder, embeddings: Mapping[str, Tensor], undo: ExitStack) -> None:
    """Have a text encoder read embeddings (trigger -> (n, width)) in place of their triggers, until undone."""
    name = encoder.component.replace("text_encoder", "tokenizer")
    module: nn.Module = getattr(pipeline, encoder.component)
    tokenizer, first = _reading(getattr(pipeline, name), {word: len(rows) for word, rows in embeddings.items()})
    weight = module.get_parameter(encoder.table)
    vectors = torch.cat(list(embeddings.values())).to(weight)
    for part in module.modules():
        if isinstance(part, nn.Embedding) and part.weight is weight:  # a T5 has its table in two places
            _set(part, "forward", _going_on(part.forward, first, vectors), undo)
        if getattr(part, "eos_token_id", None) == NO_EOS:
            _set(part, "eos_token_id", tokenizer.eos_token_id, undo)
    undo.callback(setattr, pipeline, name, getattr(pipeline, name))
    setattr(pipeline, name, tokenizer)


def _reading(tokenizer: Any, lengths: Mapping[str, int]) -> tuple[Any, int]:
    """Return a copy of a tokenizer that reads n new tokens for each word, numbered on and on, and the first number."""
    taught = deepcopy(tokenizer)
    first = teach(taught.backend_tokenizer, lengths)
    return taught, first


def _going_on(table: Callable[[Tensor], Tensor], first: int, vectors: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a table of token vectors that goes on with more of them at the token `first`; vectors: (n, width)."""

    def forward(tokens: Tensor) -> Tensor:
        ours = tokens >= first
        return torch.where(
            ours.unsqueeze(-1), vectors[(tokens - first).clamp(min=0)], table(tokens.masked_fill(ours, 0))
        )

    return forward


def length_of(vectors: Tensor) -> int:
    """Return how many vectors an embedding has for a text encoder."""
    return len(_rows(vectors))


def _rows(vectors: Tensor) -> Tensor:
    return vectors if vectors.ndim == 2 else vectors.unsqueeze(0)


def _set(part: nn.Module, name: str, value: Any, undo: ExitStack) -> None:
    """Set an attribute of a module itself; undone, it has it no more, or has its old one."""
    if name in vars(part):
        undo.callback(setattr, part, name, vars(part)[name])
    else:
        undo.callback(delattr, part, name)
    setattr(part, name, value)
