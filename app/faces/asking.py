"""What another API asks for, put together as a request of ours."""

from collections.abc import Mapping
from typing import Any

from app.faces.adapter_shapes import native
from app.faces.judged import judged
from app.http.faults import refusal
from app.shared.a1111_names import meant_by
from app.shared.wire.generation import GenerationRequest

# Schedulers as diffusers and Replicate's models call them -> ours
SCHEDULERS = {
    "ddim": "ddim",
    "ddpm": "ddpm",
    "eulerdiscrete": "euler",
    "flowmatcheulerdiscrete": "euler",
    "k_euler": "euler",
    "eulerancestraldiscrete": "euler_a",
    "k_euler_ancestral": "euler_a",
    "heundiscrete": "heun",
    "dpmsolvermultistep": "dpmpp_2m",
    "karrasdpm": "dpmpp_2m_karras",
    "unipcmultistep": "unipc",
    "lcm": "lcm",
}


def request_of(fields: Mapping[str, Any]) -> GenerationRequest:
    """Return the request that these fields of ours are, but for those that are None; raise BadRequest."""
    return judged(GenerationRequest, {key: value for key, value in fields.items() if value is not None})


def adapters_of(asked: object, *fields: str) -> list[dict[str, Any]]:
    """Return the adapters that these fields of another API's request name, in any shape; raise BadRequest."""
    said = {field: getattr(asked, field) for field in fields}
    return [one for field, value in said.items() if value is not None for one in native(field, value)]


def sampler_of(name: str | None) -> dict[str, str | None]:
    """Return the fields of ours that a scheduler's name means, ours, diffusers' or A1111's; of another, the name."""
    if name is None:
        return {}
    known = SCHEDULERS.get(name.lower().removesuffix("scheduler"))
    sampler, sigmas = (known, None) if known else meant_by(name, "") or (name, None)
    return {"sampler": sampler, "sigmas": sigmas}


def only(field: str, value: Any, allowed: tuple[Any, ...], why: str) -> None:
    """Raise BadRequest for a value that nothing here can honour."""
    if value not in allowed:
        raise refusal([field], "not_obeyed", why, list(allowed))
