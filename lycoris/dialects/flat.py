"""Names with underscores for dots, of kohya, LyCORIS and OneTrainer: `lora_unet_<path>.<suffix>`.

Some were converted by half, and have dots among or in front of the underscores: `lora_unet_blocks_22.self_attn.k`,
`lora_te1.text_model…`. With such a prefix the whole path is read as a flat one.
"""

from lycoris.dialects.parsed_name import Place
from lycoris.dialects.prefixes import FLAT
from lycoris.dialects.suffixes import split_suffix
from lycoris.dialects.wrappers import flattened, unwrapped


def place(name: str) -> Place | None:
    """Return the place of a tensor whose name begins as kohya's, LyCORIS' or OneTrainer's do, else None."""
    path = unwrapped(name)
    prefix = next((prefix for prefix in FLAT if path.startswith((prefix, f"{prefix[:-1]}."))), None)
    parts = split_suffix(path) if prefix else None
    if prefix is None or parts is None:
        return None
    module, suffix = parts
    return Place(FLAT[prefix], flattened(module[len(prefix) :]), suffix)
