"""Dotted names, of diffusers and PEFT: `unet.<path>.<suffix>`, `base_model.model.` in it or not, or the bare path."""

import re

from lycoris.dialects.place import Place
from lycoris.dialects.suffixes import split_suffix

COMPONENTS = ("unet", "transformer", "prior", "text_encoder", "text_encoder_2", "text_encoder_3")
WRAPPER = "base_model.model."  # PEFT's own two layers around a model

# diffusers before PEFT kept adapters in attention processors, and named a projection after its adapter
_PROCESSOR = re.compile(r"\.processor(?=\.)")
_PROJECTION = re.compile(r"\.(to_q|to_k|to_v|to_out)_lora\.(up|down)\.weight$")
LEAVES = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}
CLIP_LEAVES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


def place(name: str) -> Place | None:
    """Return the place of a tensor named by its module's path, else None."""
    path = name.removeprefix(WRAPPER)
    first, _, rest = path.partition(".")
    component = first if first in COMPONENTS else None
    path = rest.removeprefix(WRAPPER) if component else path
    leaves = CLIP_LEAVES if ".self_attn." in path else LEAVES
    path = _PROJECTION.sub(lambda found: f".{leaves[found[1]]}.lora.{found[2]}.weight", _PROCESSOR.sub("", path))
    parts = split_suffix(path)
    return Place((component,) if component else (), *parts) if parts else None
