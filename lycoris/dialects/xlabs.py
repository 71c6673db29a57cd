"""XLabs' names for FLUX.1: adapters kept in attention processors, `double_blocks.0.processor.qkv_lora1.down.weight`."""

import re

from lycoris.dialects.parsed_name import ParsedName
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


def parse(name: str) -> ParsedName | None:
    """Return the parsed name of a tensor in XLabs' naming, with FLUX.1's original module names, else None."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return ParsedName(
        DENOISER, f"{found['block']}.{LAYERS[found['layer']]}", LORA_UP if found["half"] == "up" else LORA_DOWN
    )
