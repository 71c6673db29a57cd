"""Which models a generation needs to have maps made with, and which workers have them.

Needed or had, it is kind of map -> fingerprints of the models that make it. None of a kind that is needed: any will do.
None of a kind that a worker has: they are named in its settings, and come from their hub with the first request.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import product
from typing import get_args

from app.shared.wire.map import Made

Models = Mapping[str, Sequence[str]]

DIGITS = 16


def digest(needed: Models) -> str:
    """A name for what is needed; empty where nothing is."""
    text = json.dumps({kind: list(models) for kind, models in needed.items()}, sort_keys=True)
    return sha256(text.encode()).hexdigest()[:DIGITS] if needed else ""


def served(had: Models) -> Iterator[str]:
    """The digests of all that a worker with these models serves, but for nothing."""
    ways: list[list[tuple[str, Sequence[str]] | None]] = [
        [None, (kind, ()), *([(kind, had[kind])] if had[kind] else [])] for kind in get_args(Made) if kind in had
    ]
    for some in product(*ways):
        if needed := dict(filter(None, some)):
            yield digest(needed)


def chosen(kinds: Collection[str], makers: Iterable[Models], published: Models) -> dict[str, list[str]] | None:
    """What is needed for maps of these kinds, as one of the makers has it; None where none makes all of them.

    The ones that are published go first, then those that are on a machine already: the same wherever it is asked.
    """
    found = [{kind: list(one[kind]) for kind in sorted(kinds)} for one in makers if set(kinds) <= one.keys()]

    def order(one: dict[str, list[str]]) -> tuple[bool, int, str]:
        is_published = all(one[kind] and one[kind] == list(published.get(kind, ())) for kind in one)
        return not is_published, sum(not models for models in one.values()), json.dumps(one)

    return min(found, key=order, default=None)
