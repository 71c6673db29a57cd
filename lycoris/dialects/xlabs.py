"""XLabs' names for FLUX.1: adapters kept in attention processors, `double_blocks.0.processor.qkv_lora1.down.weight`."""

import re

from lycoris.dialects.parsed_name import Place
from lycoris.dialects.prefixes import DENOISER
from lycoris.dialects.suffixes import LORA_DOWN, LORA_UP

_NAME = re.compile(
    r"(?:diffusion_model\.)?(?P<block>(?:double|single)_blocks\.\d+)\.processor\."
    r"(?P<layer>(?:qkv|proj)_lora[12]?)\.(?P<half>up|down)\.weight"
)
LAYERS = {  # 1 is the picture's stream, 2 the text's
    "qkv_lora1": "img_attn.qkv",
    "proj_lora1": "img_attn.proj",
    "qkv_lora2": "txt_attn.qkv",
    "proj_lora2": "txt_attn.proj",
    "qkv_lora": "linear1_qkv",
    "proj_lora": "linear2",
}


def place(name: str) -> Place | None:
    """Return the place of a tensor that XLabs' trainer would name so, in the names of FLUX.1's authors, else None."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Place(
        DENOISER, f"{found['block']}.{LAYERS[found['layer']]}", LORA_UP if found["half"] == "up" else LORA_DOWN
    )
