"""What is a sequence of adapters: acceptance, engine and recipe count its members here, so that they agree."""

from collections.abc import Iterable

from app.shared.wire.adapter import AdapterKind
from app.shared.wire.generation import StackMode


def changes_weights(kind: AdapterKind) -> bool:
    """Tell whether an adapter of this kind is a member of a stack, which is applied in one way or another.

    Embeddings teach words, control nets and image prompts compute beside the model: no order among them and no way of
    applying weights means anything to them.
    """
    return kind == "weights"


def in_sequence(mode: StackMode, kinds: Iterable[AdapterKind]) -> bool:
    """Tell whether adapters of these kinds are applied each on what the one before has left, which takes two."""
    return mode == "sequential" and sum(map(changes_weights, kinds)) > 1
