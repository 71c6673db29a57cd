"""Rows of one module of the model: what a name in a file means is one or more of these."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class RowSlice:
    """The index-th of `of` equal parts of a module's rows; by default all of its rows."""

    path: str
    index: int = 0
    of: int = 1
