"""The table of dialects, in the order in which they are asked: the first that knows a name has it."""

from collections.abc import Callable

from lycoris.dialects import dotted, flat, xlabs
from lycoris.dialects.parsed_name import Place

DIALECTS: tuple[Callable[[str], Place | None], ...] = (flat.place, xlabs.place, dotted.place)
