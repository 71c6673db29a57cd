"""The table of dialects, in the order in which they are tried: the first that knows a name parses it."""

from collections.abc import Callable

from lycoris.dialects import dotted, flat, xlabs
from lycoris.dialects.parsed_name import ParsedName

DIALECTS: tuple[Callable[[str], ParsedName | None], ...] = (flat.parse, xlabs.parse, dotted.parse)
