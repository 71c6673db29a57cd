"""Textual inversions: embeddings of active adapters, whose triggers stand for their vectors in prompts.

A trigger in a prompt is a whole word, in capitals or not; every text encoder reads the file's vectors in its place. In
Chinese, Japanese, Thai and other scripts without spaces between words it is found anywhere. The vectors are used as
they are, whatever the adapter's strength, as A1111, ComfyUI and sdnext do.
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
from workers.models.loading import LoadedModel

Vectors = Mapping[str, Tensor]  # what files call a text encoder -> (n, width), or (width,) for one vector
Embeddings = Mapping[str, Vectors]  # trigger -> its vectors
POSITIONS = "position_embedding"
ENDS = 2  # of the positions of a CLIP, those of the tokens for beginning and end
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
        # A pipeline's CLIPs read the same prompt in parallel: with vectors for one alone it would be two prompts
        if clips & vectors.keys() and (missing := clips - vectors.keys()):
            yield Reason(Code.INCOMPLETE, name, f"has no vectors for {', '.join(sorted(missing))}, which reads along")


@contextmanager
def textual_inversions(base: LoadedModel, stack: Iterable[StackEntry]) -> Iterator[None]:
    """Make the textual-inversion triggers of the active adapters usable in prompts (context manager).

    Afterwards tokenizers and text encoders are what they were. The tables of token vectors are not copied or moved, so
    that a swap meanwhile still finds them. Raises StackRefused for one trigger in two adapters, and NoPlace for an
    embedding that the base has no place for.
    """
    embeddings = _embeddings_of(stack)
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
                _add_tokens(base.pipeline, encoder, of_role, undo)
        yield


def _embeddings_of(stack: Iterable[StackEntry]) -> dict[str, Vectors]:
    """Return the embeddings of all adapters with a strength other than 0, by trigger."""
    adapters = {
        entry.adapter.sha256: entry.adapter for entry in stack if entry.strength or any(entry.strengths.values())
    }
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


def _add_tokens(pipeline: Any, encoder: Encoder, embeddings: Mapping[str, Tensor], undo: ExitStack) -> None:
    """Give a text encoder new tokens for triggers, until undone; embeddings: trigger -> vectors (n, width)."""
    name = encoder.component.replace("text_encoder", "tokenizer")
    module: nn.Module = getattr(pipeline, encoder.component)
    tokenizer, first = _tokenizer_with(getattr(pipeline, name), {word: len(rows) for word, rows in embeddings.items()})
    weight = module.get_parameter(encoder.table)
    vectors = torch.cat(list(embeddings.values())).to(weight)
    for part in module.modules():
        if isinstance(part, nn.Embedding) and part.weight is weight:  # a T5 has its table in two places
            _set(part, "forward", _extended_embedding(part.forward, first, vectors), undo)
        if getattr(part, "eos_token_id", None) == NO_EOS:
            _set(part, "eos_token_id", tokenizer.eos_token_id, undo)
    undo.callback(setattr, pipeline, name, getattr(pipeline, name))
    setattr(pipeline, name, tokenizer)


def _tokenizer_with(tokenizer: Any, lengths: Mapping[str, int]) -> tuple[Any, int]:
    """Return a copy of a tokenizer with n consecutive new tokens for each word, and the id of the first."""
    taught = deepcopy(tokenizer)
    first = teach(taught.backend_tokenizer, lengths)
    return taught, first


def _extended_embedding(table: Callable[[Tensor], Tensor], first: int, vectors: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the lookup of token vectors, extended by `vectors` (n, width) from the token id `first` on."""

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
    """Set an attribute of a module itself; undone, it is removed, or has its old value."""
    if name in vars(part):
        undo.callback(setattr, part, name, vars(part)[name])
    else:
        undo.callback(delattr, part, name)
    setattr(part, name, value)
