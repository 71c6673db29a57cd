"""Owners: whose a stored thing is, and who may see it.

Every record says its owner. What was stored before there were keys says none, and so does what a service without keys
stores: all of that belongs to the first owner. Whoever reads asks as one owner (a name, or FIRST), or as nobody in
particular (None), which is what workers and a service without keys do, and sees everything.

Pictures are stored once under the hash of their pixels, whoever sends them; who has sent one is noted beside:

| Storage key | what |
|---|---|
| `owned/pictures/<owner>/<sha256>` | the owner has sent, or was made, this picture; the first owner is `first` here |
| `owned/foreign/<sha256>` | it did not come from the first owner; a picture without this is the first owner's as well |
"""

from typing import TYPE_CHECKING

from app.shared.wire.picture import REF_PREFIX, PictureRef

if TYPE_CHECKING:  # who only knows names of owners loads no storage
    from app.shared.storage import Storage

FIRST = ""  # of what is stored from before there were keys
FIRST_SAID = "first"  # what others call that owner
BUNDLED = "radiata"  # of the adapters that came with a base model
RESERVED = (FIRST_SAID, BUNDLED)
Asker = str | None  # one owner, or None: nobody in particular, who sees everything


def owned_generation_key(owner: str, generation_id: str) -> str:
    """What was written of a generation of an owner who is not the first, before lists were made of segments."""
    return f"owned/generations/{owner}/{generation_id}"


def namespace(name: str, owner: str) -> str:
    """What an adapter's name of an owner is called in storage, where no name has an `@`."""
    return name if owner in (FIRST, BUNDLED) else f"{name}@{owner}"


class PictureHolders:
    """Knows who has which picture; raises Unavailable as storage does."""

    def __init__(self, storage: "Storage") -> None:
        self._storage = storage

    def holds(self, owner: str, ref: PictureRef) -> bool:
        """Whether a picture that is stored is one of this owner's."""
        if self._storage.exists(_held(owner, ref)):
            return True
        return owner == FIRST and not self._storage.exists(_foreign(ref))

    def sees(self, asker: Asker, ref: PictureRef) -> bool:
        """Whether a picture that is stored is there for whoever asks: to nobody in particular, somebody's is."""
        if asker is not None:
            return self.holds(asker, ref)
        return not self._storage.exists(_foreign(ref)) or bool(self._all(ref))

    def release(self, asker: Asker, ref: PictureRef) -> None:
        """Note that a picture is no longer whoever asks'; asked by nobody in particular, no owner's."""
        if asker in (None, FIRST):
            self._storage.put(_foreign(ref), b"1")
        for key in self._all(ref) if asker is None else [_held(asker, ref)]:
            self._storage.delete(key)

    def _all(self, ref: PictureRef) -> list[str]:
        digest = ref.removeprefix(REF_PREFIX)
        return [key for key in self._storage.keys("owned/pictures") if key.endswith(f"/{digest}")]

    def comes_from(self, owner: str, ref: PictureRef) -> None:
        """Note, before it is stored, that a picture that is not there yet is not the first owner's."""
        if owner != FIRST:
            self._storage.put(_foreign(ref), b"1")

    def hold(self, owner: str, ref: PictureRef) -> None:
        """Note, once it is stored, that a picture is one of this owner's."""
        if not self.holds(owner, ref):
            self._storage.put(_held(owner, ref), b"1")


def _held(owner: str, ref: PictureRef) -> str:
    return f"owned/pictures/{owner or FIRST_SAID}/{ref.removeprefix(REF_PREFIX)}"


def _foreign(ref: PictureRef) -> str:
    return f"owned/foreign/{ref.removeprefix(REF_PREFIX)}"
