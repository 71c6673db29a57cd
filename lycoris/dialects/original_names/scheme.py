"""The form of the tables of original names.

Each row: the original name -> the model's own, or several where the model splits the layer (concatenated along dim 0 in
this order). `path#k/n` is the k-th of n equal parts of the rows of `path`; `path@r` is `path` provided that it has r
rows for each column; ` | ` separates alternatives, of which the first that the model has is meant. Each `*` of a block
is one step of a path: a number, or the name of a mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Names = Mapping[str, str]
Blocks = Mapping[tuple[str, str], Names]  # (original block, own block) -> names below it


@dataclass(frozen=True)
class Scheme:
    """The original names of one family of models; used only for a model that has every module of `needs`."""

    family: str
    needs: tuple[str, ...]
    blocks: Blocks  # as in the authors' checkpoints, each parameter under one name
    aliases: Blocks = field(default_factory=dict)  # other names for the same


def swapped(path: str) -> str:
    """Return the halves of a layer's rows, exchanged: (shift, scale) in the original, (scale, shift) in diffusers."""
    return f"{path}#1/2 {path}#0/2"
