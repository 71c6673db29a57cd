"""Names with underscores for dots, of kohya, LyCORIS and OneTrainer: `lora_unet_<path>.<suffix>`."""

from lycoris.dialects.place import Place
from lycoris.dialects.prefixes import FLAT
from lycoris.dialects.suffixes import split_suffix


def place(name: str) -> Place | None:
    """Return the place of a tensor whose name begins as kohya's, LyCORIS' or OneTrainer's do, else None."""
    prefix = next((prefix for prefix in FLAT if name.startswith(prefix)), None)
    parts = split_suffix(name) if prefix else None
    if prefix is None or parts is None:
        return None
    module, suffix = parts
    return Place(FLAT[prefix], module.removeprefix(prefix), suffix)
