"""A request in the making, of what a file says: its body so far, and what of the file it does not say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.accepting.found_adapters import Known
from app.accepting.generations import Parts
from app.shared.wire.recipe import FoundAdapter, Unmatched

LONGEST = 200  # characters of what is repeated
MOST = 100  # things that are named one by one


@dataclass
class Meaning:
    """What a file means, as far as it was read."""

    parts: Parts
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    unmatched: list[Unmatched] = field(default_factory=list[Unmatched])
    adapters: list[FoundAdapter] = field(default_factory=list[FoundAdapter])

    def leave(self, name: str, value: Any, reason: str) -> None:
        """Note what the request does not say."""
        if len(self.unmatched) < MOST:
            self.unmatched.append(Unmatched(name=name[:LONGEST], value=_short(value), reason=reason[:LONGEST]))
        elif len(self.unmatched) == MOST:
            self.unmatched.append(Unmatched(name="…", reason=f"there is more than {MOST} things that are not said"))

    def most(self, name: str, entries: Sequence[Any]) -> Sequence[Any]:
        """As many entries as a request may have; the others are noted."""
        most = self.parts.settings.max_adapters
        if len(entries) > most:
            self.leave(name, len(entries), f"a request has at most {most}; the first of them are in it")
        return entries[:most]

    def add(self, known: Known, entry: dict[str, Any]) -> bool:
        """Have an adapter in the request, and tell whether it was not there yet: a file is named once."""
        version = known.version
        if any(one.sha256 == version.sha256 for one in self.adapters) and version.kind != "control":
            return False
        self.body.setdefault("adapters", []).append({"ref": f"sha256:{version.sha256}", **entry})
        self.adapters.append(
            FoundAdapter(name=version.name, version=version.version, sha256=version.sha256, by=known.by)
        )
        return True

    def twice(self, name: str, value: Any) -> None:
        """Note an adapter that is in the request already."""
        self.leave(name, value, "it is named a second time, and a request names a file once; the first counts")

    def without_adapter(self, index: int, why: str) -> None:
        """Take an adapter out of the request again."""
        self.body["adapters"].pop(index)
        gone = self.adapters.pop(index)
        self.leave("adapters", gone.name, why)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
