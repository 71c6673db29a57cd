"""The format number of what is stored and queued: a fleet is upgraded machine by machine.

Every stored record and every job says in which format it was written, in a first member `"format"`; whatever says
nothing is of format 1, that of version 0.1. Code reads all formats up to its own. It leaves a record or job of a later
format as it is: another machine, upgraded already, can read it.
"""

import json
import re
from typing import Any

FORMAT = 2  # count one up when code of today could no longer read what is written
_FIRST = re.compile(rb'\s*\{\s*"format"\s*:\s*([0-9]{1,9})\s*(?:,|(?=\}))')


def stamped(text: bytes | str) -> bytes:
    """Return the JSON of an object, with today's format as its first member."""
    data = text.encode() if isinstance(text, str) else text
    rest = data[data.index(b"{") + 1 :]
    return b'{"format":%d%s' % (FORMAT, rest if rest.lstrip().startswith(b"}") else b"," + rest)


def unstamped(data: bytes | str) -> tuple[int, bytes]:
    """Return the format of a record, and its JSON without that member; what is no JSON comes back as it is."""
    data = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    if first := _FIRST.match(data):
        return int(first[1]), b"{" + data[first.end() :]
    if b'"format"' in data:  # somebody has put the members in another order
        try:
            record: Any = json.loads(data)
        except (ValueError, RecursionError):
            return 1, data
        if isinstance(record, dict) and type(number := record.get("format")) is int:
            return number, json.dumps({name: value for name, value in record.items() if name != "format"}).encode()
    return 1, data
