"""The table of dialects, in the order in which they are asked: the first that knows a name has it."""

from collections.abc import Callable

from lycoris.dialects import dotted, kohya, lycoris
from lycoris.dialects.place import Place

DIALECTS: tuple[Callable[[str], Place | None], ...] = (kohya.place, lycoris.place, dotted.place)
