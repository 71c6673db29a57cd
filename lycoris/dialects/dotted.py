"""Dotted names, of diffusers, PEFT and ComfyUI: `unet.<path>.<suffix>`, `base_model.model.` in it or not, or bare."""

import re

from lycoris.dialects.parsed_name import ParsedName
from lycoris.dialects.prefixes import DOTTED_PREFIXES
from lycoris.dialects.suffixes import split_suffix
from lycoris.dialects.wrappers import unwrapped

# diffusers before PEFT kept adapters in attention processors, and named a projection after its adapter
_PROCESSOR = re.compile(r"\.processor(?=\.)")
_PROJECTION = re.compile(r"\.(to_q|to_k|to_v|to_out)_lora\.(up|down)\.weight$")
LEAVES = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}
CLIP_LEAVES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_PARAMETER = re.compile(r"\.(?:weight|scale)$")  # ComfyUI: a `diff` names the parameter, not the module
# Black Forest Labs' control adapters store the new scales of norms, not differences
_SCALE = re.compile(r"(?<=_norm)\.scale$")
_MODULATION = re.compile(r"\.diff_m$")  # Wan's, extracted for ComfyUI: the difference of a block's own table


def parse(name: str) -> ParsedName | None:
    """Return the parsed name of a tensor that is named by its module's path, else None."""
    path = unwrapped(name)
    prefix = next((prefix for prefix in DOTTED_PREFIXES if path.startswith(prefix)), "")
    path = unwrapped(path.removeprefix(prefix))
    leaves = CLIP_LEAVES if ".self_attn." in path else LEAVES
    path = _PROJECTION.sub(lambda found: f".{leaves[found[1]]}.lora.{found[2]}.weight", _PROCESSOR.sub("", path))
    parts = split_suffix(_MODULATION.sub(".modulation.diff", _SCALE.sub(".set_weight", path)))
    if parts is None:
        return None
    module, suffix = parts
    return ParsedName(DOTTED_PREFIXES.get(prefix, ()), _PARAMETER.sub("", module), suffix)
