"""Names with underscores for dots, of kohya, LyCORIS and OneTrainer: `lora_unet_<path>.<suffix>`.

Some were converted only in part, and have dots among the underscores or before them:
`lora_unet_blocks_22.self_attn.k`, `lora_te1.text_model…`. With such a prefix the whole path is read as a flat one.
"""

from lycoris.dialects.parsed_name import ParsedName
from lycoris.dialects.prefixes import FLAT_PREFIXES
from lycoris.dialects.suffixes import split_suffix
from lycoris.dialects.wrappers import flattened, unwrapped


def parse(name: str) -> ParsedName | None:
    """Return the parsed name of a tensor with a prefix of kohya's, LyCORIS' or OneTrainer's, else None."""
    path = unwrapped(name)
    prefix = next((prefix for prefix in FLAT_PREFIXES if path.startswith((prefix, f"{prefix[:-1]}."))), None)
    parts = split_suffix(path) if prefix else None
    if prefix is None or parts is None:
        return None
    module, suffix = parts
    return ParsedName(FLAT_PREFIXES[prefix], flattened(module[len(prefix) :]), suffix)
