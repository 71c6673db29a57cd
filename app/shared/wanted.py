"""Which generations a list is asked for, and the marks by which an index finds them.

A mark is a hash of one fact: a model, a word of the prompt. A generation is found where it has all the marks that are
asked for, and then read: `met_by` decides, so an index may say too much and never too little. Words of a prompt are
letters and digits without case and accents; in Chinese and Japanese every character is one.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b

from app.shared.segments import Entry
from app.shared.wire.generation import Generation, Status

_BY_CHARACTER = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{_BY_CHARACTER}]|[^\W_{_BY_CHARACTER}]+")


@lru_cache(65_536)
def mark(kind: str, fact: str) -> str:
    """What stands for a fact in an index: 16 letters and digits."""
    return blake2b(f"{kind}\0{fact}".encode(), digest_size=8).hexdigest()


LIVE = mark("live", "")  # of what is not known to have ended


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(one for one in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(one))
    return frozenset(WORD.findall(plain))


def marks_of(entry: Entry) -> Iterator[str]:
    """The marks of a generation, of which some may come twice."""
    yield mark("owner", entry.owner)
    yield LIVE if entry.status is None else mark("status", entry.status)
    yield mark("model", entry.model)
    yield mark("seed", str(entry.seed))
    yield from (mark("adapter", one) for one in entry.adapters)
    yield from (mark("metadata", f"{name}\0{said}") for name, said in entry.metadata.items())
    yield from (mark("word", one) for one in words(entry.prompt))


@dataclass(frozen=True)
class Wanted:
    """What all of a list have in common; what is None or empty leaves all of it in.

    adapter: `name`, `name:version` or `sha256:…`. q: words that the prompt has, in any order. since: from then on;
    until: before then.
    """

    status: Status | None = None
    model: str | None = None
    adapter: str | None = None
    starred: bool | None = None
    q: str = ""
    since: datetime | None = None
    until: datetime | None = None
    seed: int | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def everything(self) -> bool:
        """Whether nothing is asked for in particular."""
        return self == EVERYTHING

    def marks(self, owner: str) -> list[list[str]]:
        """What an owner's generation that is wanted has in an index: of each list one mark at least."""
        asked = [("model", self.model), ("adapter", self.adapter)]
        asked += [("seed", None if self.seed is None else str(self.seed))]
        found = [[mark("owner", owner)], *([mark(kind, fact)] for kind, fact in asked if fact is not None)]
        if self.status is not None:
            found.append([mark("status", self.status), LIVE] if self.status.ended else [LIVE])
        found += [[mark("metadata", f"{name}\0{said}")] for name, said in self.metadata.items()]
        return found + [[mark("word", one)] for one in sorted(words(self.q))]

    def met_by(self, generation: Generation) -> bool:
        """Whether a generation is wanted, as it stands."""
        request, facts = generation.request, Entry.of(generation)
        return (
            (self.status is None or generation.status is self.status)
            and (self.model is None or request.model == self.model)
            and (self.adapter is None or self.adapter in facts.adapters)
            and (self.starred is None or generation.starred is self.starred)
            and words(self.q) <= words(request.prompt)
            and (self.since is None or generation.created_at >= self.since)
            and (self.until is None or generation.created_at < self.until)
            and (self.seed is None or request.seed == self.seed)
            and self.metadata.items() <= generation.metadata.items()
        )


EVERYTHING = Wanted()
