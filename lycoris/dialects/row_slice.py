"""A piece of what one name in a file means: a module of the model, or one of several equal parts of its rows."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Part:
    """The index-th of `of` equal parts of the rows of a module; by default all of them."""

    path: str
    index: int = 0
    of: int = 1
