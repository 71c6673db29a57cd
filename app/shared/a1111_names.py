"""Samplers and spacings as A1111 calls them, in infotext and on its API."""

from typing import get_args

from app.shared.wire.generation import Sigmas

SAMPLERS = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "unipc": "UniPC",
    "lcm": "LCM",
}
KARRAS = "_karras"  # at the end of a sampler of ours: with the spacing of that name
SPACINGS = {sigmas: sigmas.capitalize() for sigmas in get_args(Sigmas)}
OWN = ("", "automatic")  # spacings that say nothing


def names_of(sampler: str | None, sigmas: str | None) -> tuple[str, str]:
    """Sampler and spacing as A1111 calls them; empty: the model's own, or one that it does not know."""
    plain = (sampler or "").removesuffix(KARRAS)
    spacing = "karras" if sampler and sampler != plain else sigmas or ""
    return SAMPLERS.get(plain, ""), SPACINGS.get(spacing, "")


def meant_by(sampler: str, spacing: str) -> tuple[str | None, str | None] | None:
    """Sampler and sigmas of ours that A1111's names mean; None where there are none.

    The spacing may stand behind the sampler's name, as older versions write it.
    """
    ours = {name.lower(): one for one, name in SAMPLERS.items()}
    theirs = {name.lower(): one for one, name in SPACINGS.items()}
    name, spaced = sampler.strip().lower(), spacing.strip().lower()
    for behind in theirs:
        if spaced in OWN and name.endswith(f" {behind}"):
            name, spaced = name.removesuffix(f" {behind}"), behind
    if name not in ours or spaced not in (*theirs, *OWN):
        return None
    sigmas = theirs.get(spaced)
    if ours[name] == "dpmpp_2m" and sigmas == "karras":
        return "dpmpp_2m_karras", None
    return ours[name], sigmas
