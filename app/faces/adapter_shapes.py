"""The shapes in which clients of other APIs name adapters, each brought to the native list.

vLLM-Omni's `lora` (an object or a list), stable-diffusion.cpp's and llama.cpp's lists, fal's `loras`, livepeer's JSON
string of strengths by name, our own `adapters`. What stands where they have a path is a name here: nothing is opened.
"""

import re
from typing import Any

from app.http.faults import refusal
from app.http.strict_json import parse
from app.shared.errors import BadRequest
from app.shared.wire.values import OWNED_REF_PATTERN

FILES = ("lora_name", "path", "local_path", "lora_path", "lora_local_path")
NAMES = ("ref", "name", "adapter", "lora_nickname", "model", "id", *FILES)
SCALES = ("strength", "scale", "lora_scale", "multiplier", "weight")
NUMBERS = ("int_id", "lora_int_id")  # by which a server knows an adapter that it has loaded: it says nothing here
SUFFIX = ".safetensors"


def native(field: str, value: Any) -> list[dict[str, Any]]:
    """Return the entries of `adapters` that a field of any of these shapes means; raise BadRequest."""
    if isinstance(value, str):
        try:
            value = parse(value.encode()) if value[:1] in "[{" else [value]  # or a name alone
        except BadRequest:
            message = f"{field} begins as JSON and is none; send an object, a list, or a name"
            raise refusal([field], "adapter_unreadable", message) from None
    if isinstance(value, dict) and not value.keys() & {*NAMES, *SCALES}:
        value = [{"name": name, "scale": scale} for name, scale in value.items()]  # strengths by name
    entries = value if isinstance(value, list) else [value]
    return [_entry([field, at], one) for at, one in enumerate(entries)]


def of_model(name: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the base and the adapters that a name like `base:a@0.8+b@0.5` means; raise BadRequest."""
    base, _, rest = name.partition(":")
    adapters = []
    for one in rest.split("+") if rest else ():
        ref, at, strength = one.rpartition("@")
        entry: dict[str, Any] = {"ref": _ref(["model"], ref if at else one)}
        if at:
            try:
                entry["strength"] = float(strength)
            except ValueError:
                message = (
                    f"{strength[:80]!r} is no strength; write base:adapter@0.8, with a + before each further adapter"
                )
                raise refusal(["model"], "invalid_model", message) from None
        adapters.append(entry)
    return base, adapters


def _entry(place: list[str | int], value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"ref": _ref(place, value)}
    if not isinstance(value, dict):
        raise refusal(place, "adapter_unreadable", "an adapter is a name, or an object with a name and a scale")
    named = [key for key in NAMES if value.get(key) not in (None, "")]
    scaled = [key for key in SCALES if value.get(key) is not None]
    if len(named) != 1 or len(scaled) > 1:
        message = f"an adapter has one name ({', '.join(NAMES)}) and at most one strength ({', '.join(SCALES)})"
        raise refusal(place, "adapter_unreadable", message)
    rest = {key: one for key, one in value.items() if key not in (*NAMES, *SCALES, *NUMBERS)}
    if rest.pop("is_high_noise", False):
        raise refusal([*place, "is_high_noise"], "not_obeyed", "no base here has a second denoiser; leave it out")
    strength = {"strength": value[scaled[0]]} if scaled else {}
    name = value[named[0]]
    if named[0] in FILES:  # elsewhere the ending is a part of the name
        name = str(name).removesuffix(SUFFIX)
    return {"ref": _ref([*place, named[0]], name), **strength, **rest}


def _ref(place: list[str | int], name: Any) -> str:
    ref = str(name)
    if not re.fullmatch(OWNED_REF_PATTERN, ref):
        message = (
            f"{str(name)[:80]!r} is no adapter's name; upload it, or have it fetched (POST /v1/adapters), and name it"
        )
        raise refusal(place, "adapter_unknown", message)
    return ref
