"""The native request that an infotext means: one function for each name of its last line, in a table.

A1111 draws noise on the GPU and weighs prompts in its own way, so the pixels of a foreign infotext are not those of its
picture; what is asked for is the same.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.accepting.found_adapters import known_by
from app.accepting.meaning import Meaning
from app.shared.a1111_names import OWN, SPACINGS, meant_by
from app.shared.a1111_prompts import syntax_of, unread
from app.shared.infotext import as_json, hashes, read
from app.shared.lora_tags import Tag, TagRefused, split, use_of

OURS = "Radiata"
UNWHOLE = re.compile(r"<(?:lora|lyco):[^\s>]{0,64}", re.IGNORECASE)
SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
WHOLE = re.compile(r"[0-9]{1,16}")
NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,17})?")
METHODS = {"lanczos": "lanczos", "latent": "latent"}
STEPS = 20  # where a text says none, and a tag needs them
MODEL = ("Model", "Model hash")
HASHES = ("Lora hashes", "TI hashes", "Adapter hashes")
# What chooses between programs, versions and files of others, and asks for nothing
SAYS_NOTHING = frozenset(
    ("Version", "RNG", "App", "Backend", "Pipeline", "Parser", "Created Date", "Civitai metadata", "VAE hash")
)
Read = Callable[[Meaning, Mapping[str, str], str], None]


def of_infotext(found: Meaning, text: str) -> None:
    """Add what an infotext says to a meaning."""
    said = read(text)
    fields = said.fields
    prompt, tags = split(said.prompt)
    negative, refused = split(said.negative_prompt)
    _prompts(found, {"prompt": prompt, "negative_prompt": negative}, fields.get("Version", "").startswith(OURS))
    for tag in refused:
        found.leave(tag.text, "", "an adapter named in the negative prompt is applied to all; name it in the prompt")
    _model(found, fields)
    for name, value in fields.items():
        if name in FIELDS:
            FIELDS[name](found, fields, value)
        elif name not in (*SAYS_NOTHING, *MODEL, *HASHES, "Hashes"):
            found.leave(name, value, WHY.get(name.rstrip(" 0123456789"), "no field of a request says it"))
    _adapters(found, fields, tags)


def _prompts(found: Meaning, prompts: dict[str, str], ours: bool) -> None:
    syntax, texts = syntax_of(*prompts.values())
    if ours and (syntax == "weighted" or texts != [*prompts.values()]):
        why = "it is not said whether brackets weigh words, so they do not; if they do, add `prompt_syntax`"
        found.leave("prompt_syntax", "", why)
    elif syntax == "weighted":
        found.body["prompt_syntax"] = syntax
    for (name, typed), text in zip(prompts.items(), texts, strict=True):
        if typed:
            found.body[name] = typed if ours else text
        if (word := unread(typed)) and not ours:
            why = "there is no such syntax here (brackets that weaken or change a prompt, AND, BREAK): read as words"
            found.leave(name, word, why)
        if unwhole := UNWHOLE.search(typed):
            found.leave(unwhole[0], "", "this tag has no name or no end: it is read as words")


def _model(found: Meaning, fields: Mapping[str, str]) -> None:
    name, digest = fields.get("Model", ""), fields.get("Model hash", "").lower()
    profiles = found.parts.profiles.ready()
    by_hash = next((one for one in profiles if len(digest) >= 8 and one.fingerprint.startswith(digest)), None)
    by_name = next((one for one in profiles if one.name == name), None)
    if by_hash or by_name:
        found.body["model"] = (by_hash or by_name).name  # type: ignore[union-attr]
    if digest and not by_hash and by_name:
        found.leave("Model hash", digest, "the base of this name has other files here, or a hash of another kind")
    elif (name or digest) and not by_hash and not by_name:
        found.leave(
            "Model" if name else "Model hash",
            name or digest,
            "no base here has this name or hash; without `model`, the default one draws",
        )


def _whole(field: str) -> Read:
    def say(found: Meaning, _: Mapping[str, str], value: str) -> None:
        if WHOLE.fullmatch(value):
            found.body[field] = int(value)
        else:
            found.leave(field, value, "it is no whole number")

    return say


def _number(field: str) -> Read:
    def say(found: Meaning, _: Mapping[str, str], value: str) -> None:
        if NUMBER.fullmatch(value):
            found.body[field] = float(value)
        else:
            found.leave(field, value, "it is no number")

    return say


def _size(found: Meaning, _: Mapping[str, str], value: str) -> None:
    if size := SIZE.fullmatch(value):
        found.body |= {"width": int(size[1]), "height": int(size[2])}
    else:
        found.leave("Size", value, "it is no size, as 512x512")


def _sampler(found: Meaning, fields: Mapping[str, str], value: str) -> None:
    spacing = fields.get("Schedule type", "")
    known = meant_by(value, spacing)
    if known is None:
        found.leave("Sampler", f"{value} {spacing}".strip(), "there is no such sampler here; the base's own draws")
        return
    found.body |= {name: one for name, one in zip(("sampler", "sigmas"), known, strict=True) if one}


def _spacing(found: Meaning, fields: Mapping[str, str], value: str) -> None:
    if "Sampler" in fields:  # which is read with it
        return
    known = next((ours for ours, theirs in SPACINGS.items() if theirs.lower() == value.lower()), None)
    if known:
        found.body["sigmas"] = known
    elif value.lower() not in OWN:
        found.leave("Schedule type", value, "there is no such spacing here; the base's own is used")


def _of_second_pass(field: str) -> Read:
    def say(found: Meaning, fields: Mapping[str, str], value: str) -> None:
        if field == "Hires upscale" and not NUMBER.fullmatch(value):
            found.leave(field, value, "it is no number")
        elif "Denoising strength" not in fields:  # which is read with it
            found.leave(field, value, "how much is drawn anew is not said: add `upscale` with a `denoise`")

    return say


def _clip_skip(found: Meaning, _: Mapping[str, str], value: str) -> None:
    if not WHOLE.fullmatch(value) or value.strip("0") == "":
        found.leave("Clip skip", value, "it is no number of layers")
    elif int(value) > 1:  # A1111 counts from the last layer, which is 1
        found.body["clip_skip"] = int(value) - 1


def _denoise(found: Meaning, fields: Mapping[str, str], value: str) -> None:
    if not NUMBER.fullmatch(value):
        found.leave("Denoising strength", value, "it is no number")
    elif scale := _scale(found, fields):
        method = fields.get("Hires upscaler", "Latent")
        if method.lower() not in METHODS:
            found.leave("Hires upscaler", method, "there is no such upscaler here; lanczos stands in its place")
        found.body["upscale"] = {
            "scale": scale,
            "denoise": float(value),
            "method": METHODS.get(method.lower(), "lanczos"),
        }
    else:
        found.leave("Denoising strength", value, "the picture that it began from is not in the file: add `init_image`")


def _scale(found: Meaning, fields: Mapping[str, str]) -> float | None:
    if NUMBER.fullmatch(scale := fields.get("Hires upscale", "")):
        return float(scale)
    first, second = (SIZE.fullmatch(fields.get(name, "")) for name in ("Size", "Hires resize"))
    if not first or not second:
        return None
    across, down = (int(second[at]) / max(int(first[at]), 1) for at in (1, 2))
    if across != down:
        found.leave("Hires resize", second[0], "it is of another shape than the first picture; its width counts")
    return across


def _adapters(found: Meaning, fields: Mapping[str, str], tags: list[Tag]) -> None:
    digests = _digests(fields)
    for tag in found.most("<lora:…>", tags):
        digest = digests.get(tag.name, "")
        known = known_by(found.parts.catalog, digest, tag.name)
        if known is None:
            why = "no adapter here has this hash" if digest else "no adapter here has this name, and it has no hash"
            found.leave(tag.text, digest, f"{why}; upload the file")
            continue
        try:
            model = found.body.get("model") or found.parts.settings.model
            if not found.add(known, use_of(tag, known.version, model, found.body.get("steps") or STEPS)):
                found.twice(tag.text, digest)
        except TagRefused as error:
            found.leave(tag.text, digest, str(error))
    named = {tag.name for tag in tags}
    for name, digest in found.most("Lora hashes", [one for one in digests.items() if one[0] not in named]):
        _by_hash(found, name, digest, None)
    for one in found.most("Civitai resources", list(_resources(fields))):
        _resource(found, one)


def _digests(fields: Mapping[str, str]) -> dict[str, str]:
    """Hash by name, out of every place where one may stand."""
    digests: dict[str, str] = {}
    everything = as_json(fields.get("Hashes", ""))
    for key, digest in everything.items() if isinstance(everything, dict) else ():
        kind, _, name = str(key).partition(":")
        if kind.lower() in ("lora", "lyco", "embed") and name:
            digests[name] = str(digest).lower()
    for name in HASHES:
        digests |= hashes(fields.get(name, ""))
    return digests


def _by_hash(found: Meaning, name: str, digest: str, strength: float | None) -> None:
    known = known_by(found.parts.catalog, digest, name)
    if known is None:
        found.leave(name, digest, "no adapter here has this hash; upload the file")
    elif known.version.kind in ("control", "image_prompt"):
        found.leave(name, digest, "it reads a picture, which is not in the file: add it to `adapters` with one")
    else:
        found.add(known, {} if strength is None else {"strength": strength})


def _resources(fields: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    listed = as_json(fields.get("Civitai resources", ""))
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            yield one


def _resource(found: Meaning, one: dict[str, Any]) -> None:
    kind, name = str(one.get("type", "")).lower(), str(one.get("modelName") or one.get("name") or "")
    weight, digest = one.get("weight"), str(one.get("hash") or "")
    if kind in ("lora", "lycoris", "locon", "dora", "embed", "textualinversion") and digest:
        _by_hash(found, name, digest, weight if isinstance(weight, int | float) else None)
        return
    version = one.get("modelVersionId")
    what = "base" if kind == "checkpoint" else "adapter"
    add = f"; `radiata adapters add civitai:{version}` fetches it" if type(version) is int and what == "adapter" else ""
    found.leave("Civitai resources", name or version, f"it has no hash by which an {what} could be found here{add}")


def _nothing(_: Meaning, __: Mapping[str, str], ___: str) -> None:
    pass


FIELDS: dict[str, Read] = {
    "Steps": _whole("steps"),
    "Seed": _whole("seed"),
    "CFG scale": _number("guidance_scale"),
    "Size": _size,
    "Sampler": _sampler,
    "Schedule type": _spacing,
    **{name: _of_second_pass(name) for name in ("Hires upscale", "Hires upscaler", "Hires resize")},
    "Clip skip": _clip_skip,
    "Denoising strength": _denoise,
    "CFG rescale phi": _number("guidance_rescale"),
    "Eta DDIM": _number("eta"),
    "Civitai resources": _nothing,
}
WHY = {
    "ControlNet": "the picture that it read is not in the file: add the control net to `adapters` with one",
    "Variation seed": "two seeds are not mixed here",
    "Variation seed strength": "two seeds are not mixed here",
    "VAE": "a base has one VAE here, its own",
    "Refiner": "no base here hands over to another half-way",
    "Refiner switch at": "no base here hands over to another half-way",
    "Hires steps": "the second pass has as many steps as the first",
    "Hires sampler": "the second pass has the sampler of the first",
    "Hires prompt": "the second pass has the prompt of the first",
    "Mask blur": "the mask is not in the file",
    "ENSD": "noise is drawn from the seed itself here",
    "Face restoration": "faces are not restored here",
}
