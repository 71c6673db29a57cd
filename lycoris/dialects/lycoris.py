"""LyCORIS' own names, `lycoris_<path with underscores>.<suffix>`: of the denoiser, which is what it wraps."""

from lycoris.dialects.place import Place
from lycoris.dialects.suffixes import split_suffix

PREFIX = "lycoris_"
COMPONENTS = ("unet", "transformer", "prior")


def place(name: str) -> Place | None:
    """Return the place of a tensor that LyCORIS' `create_lycoris` would name so, else None."""
    parts = split_suffix(name) if name.startswith(PREFIX) else None
    return Place(COMPONENTS, parts[0].removeprefix(PREFIX), parts[1]) if parts else None
