"""Signed addresses: a picture's url in an answer opens that one picture for a while, whoever has it.

So `<img>`, other people's clients and receivers of webhooks fetch it without a key. The signature is of path and end
alone: it says nothing of who asked. Ends are rounded up, so that an address stays the same for an hour and is cached,
or for its lifetime where that is shorter.
"""

import time
from collections.abc import Callable
from math import ceil
from urllib.parse import parse_qsl

from app.shared.signing import Signer

SAME_S = 3600  # that an address stays the same
WORD = "url"


class Links:
    """Signs addresses, and knows them again. lifetime_s: for which one is good at least, and not twice as long."""

    def __init__(self, signer: Signer, lifetime_s: int, clock: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._lifetime_s = lifetime_s
        self._clock = clock

    def query(self, path: str) -> str:
        """What is written behind a path of ours so that it opens without a key."""
        same_s = min(SAME_S, self._lifetime_s)
        until = str(ceil((self._clock() + self._lifetime_s) / same_s) * same_s)
        return f"?exp={until}&sig={self._signer.sign(WORD, path, until)}"

    def opens(self, path: str, query: bytes) -> bool:
        """Whether what stands behind a path is our signature of it, and not over."""
        said = dict(parse_qsl(query.decode("latin-1")))
        until, signature = said.get("exp", ""), said.get("sig", "")
        if not (until.isascii() and until.isdecimal() and len(until) <= 12):
            return False
        return self._signer.is_good(signature, WORD, path, until) and self._clock() < int(until)
