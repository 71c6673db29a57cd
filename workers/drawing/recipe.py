"""The recipe of a picture, which is in its file (`workers/drawing/encoding.py`).

It holds all that decides the pixels and nothing else (no names, times or ids), so that the same request gives the same
recipe. (A CPU's kind, which can turn a last bit, is not in it.) Fields that version 0.1 has stand in every
recipe, later ones where they are set, so that a request without them gives the one that it gave before. Why adapters
were applied as they were stands there where the base is the reason: where weights are quantised, and it was no merge.
"""

import json
from importlib.metadata import version
from itertools import chain
from typing import Any

from app.shared.sequence import in_sequence
from app.shared.wire.adapter import FIRST_SETTINGS, ResolvedAdapter
from app.shared.wire.generation import FIRST_FIELDS, AppliedBecause, ApplyMode, Picture, ResolvedRequest
from app.shared.wire.model import ModelProfile

# Names, how many, what a file's bytes say themselves, and the way of applying that was asked for: the one that was
# taken decides
NOT_OF_THE_PICTURE: dict[str, Any] = {
    **dict.fromkeys(("model", "count", "apply", "drawn"), True),
    "adapters": {"__all__": dict.fromkeys(("ref", "name", "version", "kind"), True)},
}
# Libraries that decide the pixels of a request with this value of a field, and of no other
LIBRARIES_OF = {("sigmas", "beta"): ("scipy",), ("prompt_syntax", "weighted"): ("compel",)}


def recipe(
    request: ResolvedRequest, seed: int, profile: ModelProfile, applied: ApplyMode, because: AppliedBecause = "asked"
) -> dict[str, Any]:
    """Return everything that decides the pixels of one picture: the request, and what it was drawn with."""
    asked = request.model_dump(exclude=NOT_OF_THE_PICTURE)
    for name, field in Picture.model_fields.items():
        if name not in FIRST_FIELDS and asked[name] == field.default:
            del asked[name]
    if not asked["preprocessors"]:  # no map that a model makes
        del asked["preprocessors"]
    for one in asked["adapters"]:
        for name, field in ResolvedAdapter.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if name in one and name not in FIRST_SETTINGS and one[name] == default:
                del one[name]
    further = chain(*(found for (name, value), found in LIBRARIES_OF.items() if asked.get(name) == value))
    if not in_sequence(request.stack_mode, (one.kind for one in request.adapters)):  # their order decides nothing
        asked["adapters"].sort(key=lambda one: (one["sha256"], json.dumps(one, sort_keys=True)))
    if profile.quantised:  # version 0.1 has no such bases
        asked["quantised"] = profile.quantised
        if applied != "merge" and because != "asked":
            asked["applied_because"] = because
    return asked | {
        "seed": seed,
        "applied": applied,
        "base": profile.fingerprint,
        "dtype": profile.dtype,
        "device": profile.device,
        "threads": profile.threads,
        "versions": profile.versions | {library: version(library) for library in further},
    }
