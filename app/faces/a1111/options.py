"""`/options`: what a client may set, which is the base that is drawn with where a request names none.

A1111 has one state for everybody. Here each owner has a choice of their own (without keys all callers are one owner,
whoever uses this machine), and nobody else's changes.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:a1111:<owner>` | string | the name of the base that this owner has chosen | 30 days after it was used last |
"""

import re
from typing import Any, cast

from redis.exceptions import ResponseError

from app.accepting.generations import profile_of
from app.deps import Service
from app.http.faults import fault, meant, pointer, refused
from app.shared.wire.model import ModelProfile
from app.shared.wire.values import NAME_PATTERN

KEPT_S = 30 * 24 * 3600
MODEL = "sd_model_checkpoint"
HASH = 10


def chosen_key(owner: str) -> str:
    """Where an owner's choice is."""
    return f"radiata:a1111:{owner}"


def title(profile: ModelProfile) -> str:
    """What a base is called in lists, as A1111 calls a file: its name and a short hash."""
    return f"{profile.name} [{profile.fingerprint[:HASH]}]"


def base_called(service: Service, name: str, place: list[str | int]) -> str:
    """Return the name of the base that a title, a name or a hash means; raise BadRequest at `place`."""
    for one in service.profiles.ready():
        if name in (title(one), one.name, one.fingerprint, one.fingerprint[:HASH], f"{one.name}.safetensors"):
            return one.name
    known = [title(one) for one in service.profiles.ready()]
    message = f"there is no base {name[:80]!r} here{meant(name, known)}; GET /sdapi/v1/sd-models lists them"
    raise refused([fault(pointer(place), "model_unknown", message, known)], "model_unknown")


def current(service: Service) -> ModelProfile:
    """The base that is drawn with where a request names none."""
    key = chosen_key(service.owner)
    chosen = None
    try:
        chosen = cast(bytes | None, service.redis.getex(key, ex=KEPT_S))
    except ResponseError:  # of another kind: somebody else has written there
        service.redis.delete(key)
    name = (chosen or b"").decode(errors="replace")
    known = {one.name for one in service.profiles.ready()}
    return profile_of(service, name if re.match(NAME_PATTERN, name) and name in known else None)


def options(service: Service) -> dict[str, Any]:
    """Everything that can be asked of options, as it is in force for whoever asks."""
    profile = current(service)
    return {
        MODEL: title(profile),
        "sd_checkpoint_hash": profile.fingerprint,
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "samples_format": "png",
        "live_previews_enable": True,
        "img2img_color_correction": False,
        "eta_noise_seed_delta": 0,
        "randn_source": "CPU",
    }


def choose(service: Service, said: dict[str, Any]) -> None:
    """Set what is said; what is as it was may be said too. Raises BadRequest for anything else, and sets nothing."""
    now = options(service)
    faults = []
    for name, value in said.items():
        if name not in now:
            faults.append(fault(pointer([name]), "not_obeyed", f"there is no option {name[:80]!r} here; leave it out"))
        elif name not in (MODEL, "sd_checkpoint_hash") and value != now[name]:
            message = f"{name} is {now[name]!r} here for everybody; say it in the request that it is for, or leave it"
            faults.append(fault(pointer([name]), "not_obeyed", message, [now[name]]))
    if faults:
        raise refused(faults)
    if isinstance(said.get(MODEL), str):
        name = base_called(service, said[MODEL], [MODEL])
        service.redis.set(chosen_key(service.owner), name, ex=KEPT_S)
    elif said.get(MODEL) is not None:
        message = f"{MODEL} is a title of GET /sdapi/v1/sd-models"
        raise refused([fault(pointer([MODEL]), "model_unknown", message)])
