"""The adapters that a request can name: names and versions in storage, an index of them in Redis.

A version of a name never changes and its number is never used again, also after the name was deleted. Creating
`names/<name>/<version>.json` decides who gets a number. The bytes of a deleted adapter stay for as long as something
needs them (`app/shared/disposal.py`): another name, or what was accepted with it. What the index has not
(`app/shared/catalog_index.py`) is asked of storage before anybody is told that there is none.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis import Redis

from app.shared import rebuild
from app.shared.at_once import Errands
from app.shared.catalog_index import CatalogIndex, Living
from app.shared.disposal import Disposal
from app.shared.errors import AdapterRefused, Forbidden, Gone, Newer, NotFound, Unreadable
from app.shared.facts import AdapterFacts
from app.shared.owners import BUNDLED, FIRST, FIRST_SAID, namespace
from app.shared.record_format import stamped
from app.shared.records import FACTS, TOMBSTONE, VERDICT, VERSION, Tombstone, tell
from app.shared.storage import Storage
from app.shared.wire.adapter import AdapterRecord, AdapterVersion, Visibility
from app.shared.wire.values import NAME_PATTERN

PLACE_PATTERN = NAME_PATTERN.replace("$", "(@[a-z0-9-]+)?$")  # with the owner, unless that is the first
FACTS_KEPT = 64  # adapters
FACTS_KEEP_S = 2.0  # that an adapter has none: intake may write them


def file_key(sha256: str) -> str:
    """Where the bytes of an adapter are kept."""
    return f"adapters/{sha256}.safetensors"


def verdict_key(sha256: str, ignore: Sequence[str]) -> str:
    """Where the verdict on these bytes is kept, with these tensors left out."""
    left_out = f".{hashlib.sha256(json.dumps(list(ignore)).encode()).hexdigest()[:16]}" if ignore else ""
    return f"adapters/{sha256}{left_out}.json"


def facts_key(sha256: str, ignore: Sequence[str]) -> str:
    """Where is kept what acceptance has to know of these bytes, with these tensors left out."""
    return verdict_key(sha256, ignore).removesuffix(".json") + ".facts.json"


def asked(ref: str) -> tuple[str, str]:
    """What a ref asks of the index: which kind of thing, and which."""
    name, _, number = ref.partition(":")
    return ("bytes", number) if name == "sha256" else ("version" if number else "name", ref)


def indexed(holder: str, text: bytes | str) -> AdapterVersion:
    """The version that the index has for `<name>:<version>`; raises Unreadable."""
    return VERSION.read(_version_key(*holder.split(":")), text)


class Catalog:
    """Finds adapters by name, version or hash, and takes new ones."""

    def __init__(self, storage: Storage, redis: Redis) -> None:
        self._storage = storage
        self._redis = redis
        self._index = CatalogIndex(redis, self._all)
        self._disposal = Disposal(storage)
        # Read lately, the latest last; when to look again for what was not told, and what was
        self._facts: dict[str, tuple[float, AdapterFacts | None]] = {}
        self._errands = Errands()

    # Finding

    def resolve(self, ref: str) -> AdapterVersion:
        """The version that `name`, `name:version` or `sha256:…` means now; raises NotFound, Gone or Unreadable."""
        ref = ref.removeprefix(f"{BUNDLED}/").removeprefix(f"{FIRST_SAID}/")  # there is nobody else here
        name, _, number = ref.partition(":")
        if name == "sha256":
            return self._with_bytes(number)
        for holder, text in self._index.find(*asked(ref)) or ():
            if text:
                with suppress(Unreadable):
                    return indexed(holder, text)
        numbers = self._versions(name) if re.fullmatch(NAME_PATTERN, name) else []
        if not numbers:
            raise self._missing(ref, name)
        wanted = int(number) if number.isdecimal() else 0 if number else numbers[-1]
        known = self._version(name, wanted) if wanted in numbers else None
        if known is None:
            raise NotFound("adapter_unknown", f"adapter {name!r} has no version {number}; its newest is {numbers[-1]}")
        return known

    def _with_bytes(self, sha256: str) -> AdapterVersion:
        """The first version with these bytes that can be read; another name may have the same."""
        found = self._index.find(*asked(f"sha256:{sha256}"))
        for holder, text in found or ():
            name, number = holder.split(":")[0], int(holder.split(":")[1])
            known: AdapterVersion | None = None
            with suppress(Unreadable):
                known = indexed(holder, text)
            if known is None or known.sha256 != sha256:
                lives = number in self._versions(name)
                known = self._readable(name, number) if lives else None
                if known is None and (lives or number <= self._last_number(name, [])):
                    continue
                if known is None or known.sha256 != sha256:
                    self._index.distrust()  # it never had these bytes, or never was
                    found = None
                    break
            if self._sees_bytes(known):
                return known
        if found is None:
            holders = {
                f"{name}:{number}": one
                for name, number, one in self._all()
                if one and one.sha256 == sha256 and self._sees_bytes(one)
            }
            if holders:
                return holders[min(holders)]
        raise self._missing(f"sha256:{sha256}", None)

    def _sees_bytes(self, version: AdapterVersion) -> bool:
        """Whether whoever asks may know that somebody has these bytes; other owners' are nobody's here."""
        return version.owner in (FIRST, BUNDLED)

    def _missing(self, ref: str, name: str | None) -> NotFound | Gone:
        if name and re.fullmatch(PLACE_PATTERN, name) and TOMBSTONE.get(self._storage, _tombstone_key(name)):
            return Gone("adapter_deleted", f"adapter {name!r} was deleted; upload it again to use it")
        return NotFound("adapter_unknown", f"there is no adapter {ref!r}; see GET /v1/adapters, or upload it")

    def facts(self, sha256: str, ignore: Sequence[str], base: str) -> AdapterFacts | None:
        """What acceptance has to know of an adapter on a base (fingerprint); None where intake did not tell."""
        key = facts_key(sha256, ignore)
        until, known = self._facts.get(key, (0.0, None))
        again = (known is None or base not in known.on) and time.monotonic() >= until
        if again and not (until and self._errands.under_way(key)):
            with suppress(Unreadable):  # the engine judges, as it does what is not told
                known = FACTS.get(self._storage, key)
            until = time.monotonic() + FACTS_KEEP_S
        self._facts.pop(key, None)
        self._facts[key] = (until, known)
        for old in list(self._facts)[:-FACTS_KEPT]:
            self._facts.pop(old, None)
        return known

    def names(self, most: int) -> list[str]:
        """Return names of adapters, so many at most."""
        names = self._index.names()
        if names is None:
            names = {key.split("/")[1] for key in self._storage.keys("names")}
        return sorted(name for name in names if "@" not in name)[:most]

    def was_deleted(self, name: str) -> bool:
        """Whether the name was ever deleted, though it may be taken again."""
        return self._storage.exists(_tombstone_key(name))

    def record(self, ref: str) -> AdapterRecord:
        """A version with its verdict and the numbers of its sisters; raises NotFound, Gone or Unreadable."""
        version = self.resolve(ref)
        stored = VERDICT.get(self._storage, verdict_key(version.sha256, version.ignore))
        by_model = stored.models if stored else {}
        first = next(iter(by_model.values()), {})
        several = {model: verdict for model, verdict in by_model.items() if model} if len(by_model) > 1 else {}
        versions = self._sisters(version)
        return AdapterRecord(**version.model_dump(), versions=versions, verdict=first, verdicts=several)

    def _sisters(self, version: AdapterVersion) -> list[int]:
        """Numbers of the versions that its name has for whoever asks."""
        return self._versions(place_of(version))

    def _versions(self, name: str) -> list[int]:
        # Asked of storage: one folder holds one name, and names are rarely shown
        return self._living(name, list(self._storage.keys(f"names/{name}")))

    def _living(self, name: str, keys: Collection[str]) -> list[int]:
        # The tombstone decides; the files of what it ends go after it, or not, if the deleter died
        last = self._last_number(name, []) if _tombstone_key(name) in keys else 0
        return sorted(number for key in keys if (number := _number(key)) is not None and number > last)

    def newest(self) -> list[AdapterVersion]:
        """The newest version of every name, by name; one that cannot be read is left out."""
        found = self._index.find("newest")
        if found is None:
            newest = {name: one for name, _, one in self._all()}
        else:
            newest = {holder: self._known(holder, text) for holder, text in found if "@" not in holder}
        ours = (one for one in newest.values() if one and one.owner in (FIRST, BUNDLED))
        return sorted(ours, key=lambda one: one.name)

    def _known(self, holder: str, text: str) -> AdapterVersion | None:
        """A version out of the index, or, where that has none that is whole, out of storage."""
        name, number = holder.split(":")
        try:
            return VERSION.read(_version_key(name, number), text)
        except Unreadable:
            return self._readable(name, int(number))

    # Taking and deleting

    def admit(
        self,
        version: AdapterVersion,
        verdicts: Mapping[str, dict[str, Any]],
        facts: AdapterFacts | None = None,
        keep: Callable[[], None] = lambda: None,
    ) -> tuple[AdapterVersion, bool]:
        """Give inspected bytes a name and the next free number; say whether that was new.

        The file must be in storage already. The same bytes under the same name with the same `ignore` and
        `image_encoder` are the version they were before, so another description or cover is refused (law 1): a version
        never changes. Without one, none in particular is asked for.

        verdicts: by model. What was found on other models before, which may be away now, stays. keep: puts the file
        there again, where somebody took it for unneeded meanwhile. Raises AdapterRefused.
        """
        said = [verdict_key(version.sha256, version.ignore), facts_key(version.sha256, version.ignore)]

        def tell() -> None:
            self._put_verdicts(said[0], verdicts)
            if facts:
                self._put_facts(said[1], facts)

        tell()
        admitted, new = self._named(version)
        # Whoever disposed of these bytes had looked before the name was there: `app/shared/disposal.py`
        if not self._storage.exists(file_key(version.sha256)):
            keep()
        if not all(map(self._storage.exists, said if facts else said[:1])):
            tell()
        self._disposal.needs(file_key(version.sha256))
        return admitted, new

    def _named(self, version: AdapterVersion) -> tuple[AdapterVersion, bool]:
        place = place_of(version)
        while True:
            numbers = self._versions(place)
            if known := self._same(place, numbers, version.sha256, version.ignore, version.image_encoder):
                known = self._refitted(known, version)
                _judge_said(known, version)
                return known, False
            number = self._last_number(place, numbers) + 1
            numbered = version.model_copy(update={"version": number})
            if self._storage.create(_version_key(place, number), VERSION.write(numbered)):
                self._index.add(numbered)
                return numbered, True

    def _put_facts(self, key: str, facts: AdapterFacts) -> None:
        with suppress(Newer):
            if known := FACTS.replaced(self._storage, key):
                facts = facts.model_copy(update={"on": {**known.on, **facts.on}})
            self._storage.put(key, FACTS.write(facts))

    def _put_verdicts(self, key: str, verdicts: Mapping[str, dict[str, Any]]) -> None:
        with suppress(Newer):
            stored = VERDICT.replaced(self._storage, key)
            earlier = stored.models if stored else {}
            known = {model: verdict for model, verdict in earlier.items() if model or not verdicts}
            self._storage.put(key, stamped(json.dumps({"models": {**known, **verdicts}})))

    def has(self, name: str, sha256: str, model: str) -> bool:
        """Whether a bundled version of the name is these bytes, whole, fits the model, and has file and verdict."""
        known = self._same(name, self._versions(name), sha256, [])
        if known is None or model not in known.fits or known.owner != BUNDLED:
            return False
        self._index.add(known)  # whoever admitted it may have died before
        verdict = None
        with suppress(Unreadable):
            verdict = VERDICT.get(self._storage, verdict_key(known.sha256, known.ignore))
        files = (file_key(sha256), facts_key(known.sha256, known.ignore))
        return verdict is not None and all(map(self._storage.exists, files))

    def _same(
        self, name: str, numbers: list[int], sha256: str, ignore: list[str], image_encoder: str = ""
    ) -> AdapterVersion | None:
        for number in numbers:
            known = self._readable(name, number)
            if known and (known.sha256, known.ignore, known.image_encoder) == (sha256, ignore, image_encoder):
                return known
        return None

    def _refitted(self, known: AdapterVersion, seen_again: AdapterVersion) -> AdapterVersion:
        # A model that came later: the bytes were judged against it now, and where they fit can only grow
        told = known.owner != BUNDLED and "visibility" in seen_again.model_fields_set
        grown = known.model_copy(
            update={
                "fits": sorted({*known.fits, *seen_again.fits}),
                "components": sorted({*known.components, *seen_again.components}),
                "components_of": {**known.components_of, **seen_again.components_of},
                "owner": BUNDLED if seen_again.owner == BUNDLED else known.owner,  # version 0.1 did not say so
                "visibility": seen_again.visibility if told else known.visibility,
            }
        )
        if grown != known:
            known = grown
            self._storage.put(_version_key(place_of(known), known.version), VERSION.write(known))
        self._index.add(known)
        return known

    def show_to(self, name: str, visibility: Visibility) -> None:
        """Say who may use all versions of one's own name; raises NotFound, Gone, Unreadable, Forbidden for bundled."""
        known = self.resolve(name)
        if known.owner == BUNDLED:
            raise Forbidden("adapter_bundled", f"adapter {name!r} came with a base model, and all owners use it")
        place = place_of(known)
        for number in self._versions(place):
            one = self._readable(place, number)
            if one and one.owner == known.owner:
                shown = one.model_copy(update={"visibility": visibility})
                self._storage.put(_version_key(place, number), VERSION.write(shown))
                self._index.add(shown)

    def delete(self, name: str) -> None:
        """Delete a name with all its versions, whether or not they can be read; raises NotFound or Gone."""
        with suppress(Unreadable):
            self.resolve(name)
        self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            numbers = self._versions(name)
            last = self._last_number(name, numbers)
        except Newer:
            raise
        except Unreadable:  # how far it had come is not known: it goes on from where nobody has been
            numbers = sorted(filter(None, map(_number, self._storage.keys(f"names/{name}"))))
            last = max([*numbers, int(time.time()) // 60])
        self._index.drop(name, numbers)  # before anything is done: without Redis nothing can be deleted
        for digest in {one.sha256 for number in numbers if (one := self._readable(name, number))}:
            self._disposal.note(file_key(digest))
        self._storage.put(_tombstone_key(name), TOMBSTONE.write(Tombstone(last_version=last)))
        self._index.drop(name, numbers)  # somebody may have filled the index, with what was there, between the two
        for number in numbers:
            self._storage.delete(_version_key(name, number))
        for number in self._versions(name):
            if came_meanwhile := self._readable(name, number):
                self._index.add(came_meanwhile)

    def _last_number(self, name: str, numbers: list[int]) -> int:
        gone = TOMBSTONE.get(self._storage, _tombstone_key(name))
        return max([*numbers, gone.last_version if gone else 0])

    def _version(self, name: str, number: int) -> AdapterVersion | None:
        return VERSION.get(self._storage, _version_key(name, number))

    def _readable(self, name: str, number: int) -> AdapterVersion | None:
        try:
            return self._version(name, number)
        except Unreadable as error:
            tell(self._redis, error)
            return None

    def _all(self) -> list[Living]:
        """Every version of every name, out of storage, in order; one that cannot be read is there without a record."""
        by_name: dict[str, list[str]] = {}
        for key in self._storage.keys("names"):
            by_name.setdefault(key.split("/")[1], []).append(key)
        living: list[tuple[str, int]] = []
        for name, keys in sorted(by_name.items()):
            try:
                living += [(name, number) for number in self._living(name, keys)]
            except Unreadable as error:
                tell(self._redis, error)
        versions = rebuild.read_all(lambda one: self._readable(*one), living)
        return [(name, number, version) for (name, number), version in zip(living, versions, strict=True)]


def _judge_said(known: AdapterVersion, anew: AdapterVersion) -> None:
    """Raise AdapterRefused where something else is said of the bytes of a version than is said of it already."""
    for what, said, before in (
        ("description", anew.description, f"described as {known.description!r}"),
        ("cover", anew.cover, f"with {known.cover or 'none'} as cover"),
    ):
        if said and said != getattr(known, what):
            raise AdapterRefused(
                f"{what}_differs",
                f"these bytes are {known.name}:{known.version} already, {before}; leave the {what} out, upload them "
                f"under another name, or delete {known.name!r} first",
            )


def place_of(version: AdapterVersion) -> str:
    """What the name of a version is called in storage."""
    return namespace(version.name, version.owner)


def _version_key(name: str, number: int | str) -> str:
    return f"names/{name}/{number}.json"


def _tombstone_key(name: str) -> str:
    return f"names/{name}/deleted.json"


def _number(key: str) -> int | None:
    stem = key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(stem) if stem.isdigit() else None
