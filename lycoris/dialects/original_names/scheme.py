"""The form of the tables of native names.

Each row: the native name -> the model's own, several where the model has cut the layer into several (rows one below the
other, in this order). `path#k/n` is the k-th of n equal parts of the rows of `path`; `path@r` is `path` provided that
it has r rows for each column; ` | ` stands between alternatives, of which the first that the model has is meant. Each
`*` of a block is one step of a path: a number, or the name of a mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Names = Mapping[str, str]
Blocks = Mapping[tuple[str, str], Names]  # (native block, own block) -> names below it


@dataclass(frozen=True)
class Scheme:
    """The native names of one family of models; meant only for a model that has every module of `needs`."""

    family: str
    needs: tuple[str, ...]
    blocks: Blocks  # as the checkpoints of its authors have them, each parameter under one name
    aliases: Blocks = field(default_factory=dict)  # what others call the same


def swapped(path: str) -> str:
    """Return the halves of a layer's rows, exchanged: (shift, scale) there, (scale, shift) in diffusers."""
    return f"{path}#1/2 {path}#0/2"
