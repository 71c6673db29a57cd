"""The native request that a picture's recipe or infotext means, and what of it cannot be said, each with a reason.

What a file says is data from outside: of it, only what decides pixels becomes a part of the request (no webhook, no
metadata), and whatever a request may not have is left out and named.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.accepting.found_adapters import known_by
from app.accepting.generations import Parts
from app.accepting.infotexts import of_infotext
from app.accepting.meaning import Meaning
from app.http.faults import refusal
from app.shared.errors import BadRequest, NotFound
from app.shared.infotext import as_json
from app.shared.wire.adapter import AdapterSettings
from app.shared.wire.generation import GenerationRequest, Picture
from app.shared.wire.model import ModelProfile
from app.shared.wire.picture import pictures_of
from app.shared.wire.recipe import FoundRecipe, MeantRequest, Written

FILLED_IN = ("width", "height", "steps", "guidance_scale", "seed")
SAID = frozenset((*Picture.model_fields, *FILLED_IN))
HOW = ("dtype", "device", "threads", "versions", "quantised", "preprocessors")  # a base was drawn with
DERIVED = ("applied_because",)
# Fields that say nothing without the picture that they are of
OF_PICTURE = {
    "init_image": ("denoise", "mask_image", "mask_blur", "fit", "inpaint_area", "inpaint_padding"),
    "mask_image": ("mask_blur", "inpaint_area", "inpaint_padding"),
    "reference_images": (),
}
PLACEHOLDER = "."  # where there is no prompt
OF_ADAPTER = frozenset(AdapterSettings.model_fields) - {"ref"}


def meant(parts: Parts, written: Written) -> MeantRequest:
    """Return what the texts of a file mean; raise BadRequest (`recipe_missing`) where there are none."""
    recipe = as_json(written.recipe)
    if not isinstance(recipe, dict):
        recipe = None
    if recipe is None and not written.infotext.strip():
        there = f"; it has {', '.join(written.others)}, which is not read" if written.others else ""
        message = f"the file says nothing of how it was made: neither a recipe nor an infotext is in it{there}"
        raise BadRequest("recipe_missing", message)
    found = Meaning(parts)
    if recipe is not None:
        _of_recipe(found, recipe)
    else:
        of_infotext(found, written.infotext)
    request = _acceptable(found)
    return MeantRequest(
        request=request,
        found=FoundRecipe(
            source="infotext" if recipe is None else "recipe",
            recipe=recipe,
            infotext=written.infotext,
            adapters=found.adapters,
            others=written.others,
            width=written.width or None,
            height=written.height or None,
        ),
        unmatched=found.unmatched,
    )


def meant_by_text(parts: Parts, text: str) -> MeantRequest:
    """Return what an infotext, or a recipe as JSON, means; raise BadRequest where it is neither."""
    if not text.strip():
        raise refusal(["parameters"], "recipe_missing", "the text is empty; send an infotext, or a recipe as JSON")
    recipe = as_json(text)
    return meant(parts, Written(recipe=text) if isinstance(recipe, dict) else Written(infotext=text))


def _of_recipe(found: Meaning, recipe: Mapping[str, Any]) -> None:
    found.body |= {name: value for name, value in recipe.items() if name in SAID}
    profile = _base(found, recipe.get("base"))
    entries = recipe.get("adapters")
    for entry in found.most("adapters", entries if isinstance(entries, list) else []):
        _adapter(found, entry)
    if found.body.get("adapters") and isinstance(recipe.get("applied"), str):
        found.body["apply"] = recipe["applied"]
    for name in HOW:
        here = getattr(profile, name, None) if profile else None
        if profile and name in recipe and recipe[name] != here and not _within(recipe[name], here):
            why = f"it was drawn with another {name} than the base has here now, so pixels may differ"
            found.leave(name, recipe[name], why)
    for name in recipe.keys() - SAID - {"base", "adapters", "applied", *HOW, *DERIVED}:
        found.leave(name, recipe[name], "this version has no field of this name")


def _base(found: Meaning, fingerprint: Any) -> ModelProfile | None:
    profiles = found.parts.profiles.ready()
    profile = next((one for one in profiles if one.fingerprint == fingerprint), None)
    if profile:
        found.body["model"] = profile.name
    else:
        found.leave("base", fingerprint, "no base here has these files; without `model`, the default one draws")
    return profile


def _adapter(found: Meaning, entry: Any) -> None:
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    known = known_by(found.parts.catalog, digest, "") if isinstance(digest, str) else None
    if known is None or known.by != "sha256":
        found.leave("adapters", digest, "no adapter here has these bytes; upload the file")
    elif known.version.ignore != entry.get("ignore", []):
        found.leave("adapters", digest, "these bytes are here with other patterns to `ignore`; upload them with those")
    elif not found.add(known, {name: value for name, value in entry.items() if name in OF_ADAPTER}):
        found.twice("adapters", digest)


def _within(said: Any, here: Any) -> bool:
    """Whether what is said of several things is said of them here too (of libraries, those that a request needs)."""
    return isinstance(said, dict) and isinstance(here, dict) and here.items() <= said.items()


def _acceptable(found: Meaning) -> dict[str, Any]:
    """The body, without what a request may not have; each such thing is named."""
    while True:
        try:
            request = GenerationRequest.model_validate({"prompt": PLACEHOLDER} | found.body)
        except ValidationError as error:
            _drop(found, *error.errors(include_url=False, include_input=False)[0]["loc"], why=error.errors()[0]["msg"])
            continue
        gone = next((one for one in pictures_of(request) if not _is_here(found, one[1])), None)
        if gone is None:
            break
        _without(found, *gone)
    body = request.model_dump(mode="json", exclude_unset=True, exclude_defaults=True)
    if "prompt" not in found.body:
        found.leave("prompt", "", "there is none in it, and a request needs one: add yours")
        del body["prompt"]
    return body


def _drop(found: Meaning, name: str | int = "", *rest: str | int, why: str) -> None:
    if name == "adapters" and rest and isinstance(rest[0], int):
        found.without_adapter(rest[0], f"its entry is not one that a request may have: {why}")
    elif name in found.body:
        if name == "adapters":
            found.adapters.clear()
        found.leave(str(name), found.body.pop(str(name)), f"a request may not have it: {why}")
    else:
        raise BadRequest("recipe_unreadable", f"what the text says is no request, and cannot be made one: {why}")


def _is_here(found: Meaning, ref: str) -> bool:
    try:
        found.parts.pictures.info(ref)
    except NotFound:
        return False
    return True


def _without(found: Meaning, place: tuple[str | int, ...], ref: str) -> None:
    why = "the picture is not here; send it to POST /v1/images, and name it"
    if place[0] == "adapters" and isinstance(place[1], int):
        found.without_adapter(place[1], why)
    elif place[0] in found.body:
        found.body.pop(str(place[0]))
        found.leave(str(place[0]), ref, why)
        for name in OF_PICTURE.get(str(place[0]), ()):
            if found.body.get(name) is not None:
                found.leave(name, found.body.pop(name), f"it says nothing without `{place[0]}`")
