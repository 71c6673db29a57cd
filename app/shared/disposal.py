"""Bytes that are stored once under their hash (adapters, pictures) go when nothing needs them any more.

What needs them are records that hold the hash: what stands in them is read as text, so that a record of any kind, also
one that cannot be read, keeps what it names. Whoever takes the last name or holder away notes since when nothing needs
them; an hour later they go. By then nobody is accepting a request that found them before (`app/accepting`), so only
two can still come between a look and a removal:

- Somebody who stores the same bytes anew (intake). He writes them, then the record that needs them, and then looks
  whether they are still there; if not, he writes them again.
- Somebody else who disposes of them too. Each moves them to a place of his own, looks again whether anything needs them
  now, and puts them back, or lets them go.

So whichever of the two comes second sees what the first has done. While they are moved, those who read find them
there too (`aside`). Whoever dies leaves the note and what was moved; the next one goes on.

| Storage key | what |
|---|---|
| `unneeded/<key>` | since when nothing has needed what is under that key |
| `trash/<time and chance>/<key>` | what was moved, until it is decided |
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from secrets import token_hex

from app.shared.lifecycle import now
from app.shared.rebuild import read_all
from app.shared.storage import Storage

GRACE = timedelta(hours=1)  # longer than anything that is accepted takes to be accepted
HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# Kind -> folders whose records and keys need them, in the order in which a need moves on: from what arrives to a name,
# from a name or a holder to what was accepted with it. Read in this order, it is found at one place at least
NEEDED_BY = {
    "adapters": ("resumable", "fetching", "uploads", "names", "to-train", "pending"),
    "pictures": ("resumable", "fetching", "uploads", "names", "owned/pictures", "datasets", "to-train", "pending"),
}


def note_key(key: str) -> str:
    """Where it is noted that nothing needs an object."""
    return f"unneeded/{key}"


def digest_of(key: str) -> str:
    """The hash under which an object is stored: `adapters/<hash>…`, `pictures/<hash>.png`."""
    return key.partition("/")[2][:64]


def main_key(kind: str, digest: str) -> str:
    """Where the bytes of a hash are; what is said of them lies beside."""
    return f"{kind}/{digest}.{'safetensors' if kind == 'adapters' else 'png'}"


def aside(storage: Storage, key: str) -> bytes | None:
    """An object that is not at its key, where somebody has moved it just now; else None."""
    for moved in storage.keys("trash"):
        if _original(moved) == key and (data := storage.get(moved)) is not None:
            return data
    return storage.get(key)  # it was put back meanwhile


class Disposal:
    """Removes what nothing needs. Raises Unavailable.

    clock: the time now.
    """

    def __init__(self, storage: Storage, clock: Callable[[], datetime] = now) -> None:
        self._storage, self._clock = storage, clock

    def note(self, key: str) -> None:
        """Note that from now on nothing may need an object; what is needed after all stays."""
        self._storage.put(note_key(key), self._clock().isoformat().encode())

    def needs(self, key: str) -> None:
        """Note that something needs it."""
        self._storage.delete(note_key(key))

    def noted(self) -> dict[str, datetime]:
        """What nothing may have needed, and since when."""
        found: dict[str, datetime] = {}
        for note in self._storage.keys("unneeded"):
            key, text = note.partition("/")[2], self._storage.get(note)
            try:
                found[key] = datetime.fromisoformat((text or b"").decode())
            except ValueError:  # spoilt: its hour begins anew
                if text is not None:
                    self.note(key)
        return found

    def run(self, may_go: Callable[[], bool] = lambda: True) -> list[str]:
        """Remove what nothing has needed for an hour, and put back what somebody left half-way; what went.

        may_go: asked before each kind, whether there is time for more.
        """
        gone: list[str] = []
        due = [key for key, since in self.noted().items() if self._clock() - since > GRACE]
        moved = list(self._storage.keys("trash"))
        for kind in NEEDED_BY:
            left = [place for place in moved if _original(place).startswith(f"{kind}/")]
            mine = {digest_of(key) for key in due if key.startswith(f"{kind}/")}
            if (left or mine) and may_go():
                needed = self.needed(kind)
                self._recover(left, needed)
                gone += self._dispose(kind, mine, needed)
        return gone

    def needed(self, kind: str) -> set[str]:
        """Hashes that some record needs."""
        found = set[str]()
        for folder in NEEDED_BY[kind]:
            keys = list(self._storage.keys(folder))
            texts = read_all(self._storage.get, [key for key in keys if key.endswith(".json")])
            for text in (*(key.encode() for key in keys), *filter(None, texts)):
                found.update(match.decode() for match in HASH.findall(text))
        if kind == "pictures":  # where nobody says whose one is, it is the first owner's (`app/shared/owners.py`)
            stored = {digest_of(key) for key in self._storage.keys("pictures")}
            found |= stored - {key.rpartition("/")[2] for key in self._storage.keys("owned/foreign")}
        return found

    def _recover(self, places: Iterable[str], needed: set[str]) -> None:
        for place in places:
            if digest_of(_original(place)) in needed:
                self._put_back(place)
            if self._clock().timestamp() - int(place.split("/")[1][:12], 16) / 1000 > GRACE.total_seconds():
                self._storage.delete(place)  # nobody is at it any more

    def _dispose(self, kind: str, digests: set[str], needed: set[str]) -> list[str]:
        """Remove objects of these hashes, and what is said of them beside them; their keys."""
        for digest in digests & needed:
            self.note(main_key(kind, digest))  # its hour begins when that need is seen for the last time
        digests = digests - needed
        stored = [key for key in self._storage.keys(kind) if digest_of(key) in digests]
        own = f"trash/{int(self._clock().timestamp() * 1000):012x}{token_hex(8)}"
        for key in stored:
            if self._storage.copy(key, f"{own}/{key}"):  # what another has moved is his to put back
                self._storage.delete(key)
        needed = self.needed(kind) if stored else set()
        for key in stored:
            if digest_of(key) in needed:
                self._put_back(f"{own}/{key}")
            self._storage.delete(f"{own}/{key}")
        for digest in digests - needed:
            self.needs(main_key(kind, digest))
        return [key for key in stored if digest_of(key) not in needed]

    def _put_back(self, place: str) -> None:
        if not self._storage.exists(_original(place)):
            self._storage.copy(place, _original(place))


def _original(place: str) -> str:
    return place.split("/", 2)[-1]
