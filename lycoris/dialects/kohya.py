"""kohya's names, and those of everyone who follows: `lora_unet_<path with underscores>.<suffix>`."""

from lycoris.dialects.place import Place
from lycoris.dialects.suffixes import split_suffix

PREFIXES: dict[str, tuple[str, ...]] = {
    "lora_unet_": ("unet", "transformer", "prior"),
    "lora_transformer_": ("transformer",),  # OneTrainer
    "lora_te_": ("text_encoder",),
    "lora_te1_": ("text_encoder",),
    "lora_te2_": ("text_encoder_2",),
    "lora_te3_": ("text_encoder_3",),
}


def place(name: str) -> Place | None:
    """Return the place of a tensor that kohya's scripts would name so, else None."""
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    parts = split_suffix(name) if prefix else None
    if prefix is None or parts is None:
        return None
    module, suffix = parts
    return Place(PREFIXES[prefix], module.removeprefix(prefix), suffix)
