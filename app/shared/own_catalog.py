"""The adapters that one owner may use: their own, those that came with the base models, and what others share.

A name without an owner means the caller's own adapter, else the bundled one; `owner/name` any that may be used:
`private` is for its owner alone, `shared` for whoever names it with its owner, `public` is in everybody's list besides.
Names are asked of storage: the index holds those of all owners.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from redis import Redis

from app.shared.catalog import Catalog, indexed
from app.shared.errors import Forbidden, Gone, NotFound, Unreadable
from app.shared.owners import BUNDLED, FIRST, FIRST_SAID, namespace
from app.shared.storage import Storage
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.values import NAME_PATTERN

Seen = Callable[[AdapterVersion], bool]


class OwnCatalog(Catalog):
    """The catalog as one owner sees it."""

    def __init__(self, storage: Storage, redis: Redis, owner: str) -> None:
        super().__init__(storage, redis)
        self._owner = owner

    def resolve(self, ref: str) -> AdapterVersion:
        """The version that a ref means to this owner; raises NotFound, Gone or Unreadable."""
        owner, _, rest = ref.rpartition("/")
        name, _, number = rest.partition(":")
        if name == "sha256" and not owner:
            return self._with_bytes(number)
        for place, seen in self._places(owner, name):
            versions = self._seen_versions(place, seen)
            if not number and self._is_own(place):
                self._judge_newest(place)
            if versions:
                wanted = int(number) if number else versions[-1].version
                if known := next((one for one in versions if one.version == wanted), None):
                    return self._shown(known)
                newest = versions[-1].version
                raise NotFound("adapter_unknown", f"adapter {name!r} has no version {number}; its newest is {newest}")
        raise self._missing(rest if not owner else ref, name if not owner else None)

    def newest(self) -> list[AdapterVersion]:
        """The newest version of every name that this owner may list, by name; one that cannot be read is left out."""
        found = self._index.find("newest")
        if found is None:
            newest = {place: one for place, _, one in self._all()}
        else:
            newest = {holder.split(":")[0]: self._known(holder, text) for holder, text in found}
        listed: list[AdapterVersion] = []
        for place, one in newest.items():
            if one and self._lists(one):
                listed.append(one)
            elif "@" not in place and not self._is_own(place):  # its newest is the first owner's: one before, bundled
                listed += self._seen_versions(place, self._lists)[-1:]
        return sorted(map(self._shown, listed), key=lambda one: (one.name, one.owner != self._owner, one.owner))

    def names(self, most: int) -> list[str]:
        """Names of adapters that this owner may list, so many at most."""
        return sorted({one.name for one in self.newest()})[:most]

    def _sisters(self, version: AdapterVersion) -> list[int]:
        owner = FIRST if version.owner == FIRST_SAID else version.owner
        return [one.version for one in self._seen_versions(namespace(version.name, owner), self._may_use)]

    def delete(self, name: str) -> None:
        """Delete one of this owner's names; raises NotFound, Gone, and Forbidden for a bundled one."""
        place = namespace(name, self._owner)
        with suppress(Unreadable):
            if any(one.owner != self._owner for one in self._seen_versions(place, lambda _: True)):
                if self._owner == FIRST:
                    raise Forbidden(
                        "adapter_bundled", f"adapter {name!r} came with a base model, and all owners use it"
                    )
                raise self._missing(name, name)
            if not self._versions(place):
                raise self._missing(name, name)
        self._delete(place)

    def _missing(self, ref: str, name: str | None) -> NotFound | Gone:
        return super()._missing(ref, name and re.fullmatch(NAME_PATTERN, name) and namespace(name, self._owner))

    def _places(self, owner: str, name: str) -> Iterator[tuple[str, Seen]]:
        """Where a name may stand, the one that counts first, and which versions there are meant."""
        if not re.fullmatch(NAME_PATTERN, name):
            return
        if owner:
            of = FIRST if owner == FIRST_SAID else owner
            yield namespace(name, of), lambda one: one.owner == of and self._may_use(one)
            return
        own = (FIRST, BUNDLED) if self._owner == FIRST else (self._owner,)
        yield namespace(name, self._owner), lambda one: one.owner in own
        yield name, lambda one: one.owner == BUNDLED

    def _seen_versions(self, place: str, seen: Seen) -> list[AdapterVersion]:
        found = (self._version_at(place, number) for number in self._versions(place))
        return [one for one in found if one and seen(one)]

    def _is_own(self, place: str) -> bool:
        """Whether a place is where this owner's names stand; the first owner's stand with the bundled ones."""
        return place.partition("@")[2] == self._owner

    def _judge_newest(self, place: str) -> None:
        """Raise Unreadable where the newest version of a name of one's own cannot be read: no older one is meant."""
        if (numbers := self._versions(place)) and self._version_at(place, numbers[-1]) is None:
            self._version(place, numbers[-1])

    def _version_at(self, place: str, number: int) -> AdapterVersion | None:
        holder = f"{place}:{number}"
        for found, text in self._index.find("version", holder) or ():
            if text:
                with suppress(Unreadable):
                    return indexed(found, text)
        return self._readable(place, number)

    def _may_use(self, version: AdapterVersion) -> bool:
        return version.owner in (self._owner, BUNDLED) or version.visibility != "private"

    def _lists(self, version: AdapterVersion) -> bool:
        return version.owner in (self._owner, BUNDLED) or version.visibility == "public"

    def _sees_bytes(self, version: AdapterVersion) -> bool:
        return self._lists(version)

    def _shown(self, version: AdapterVersion) -> AdapterVersion:
        """A version as this owner is told of it: the first owner has a name for others."""
        foreign = version.owner == FIRST != self._owner
        return version.model_copy(update={"owner": FIRST_SAID}) if foreign else version
