"""The kind and the block of a layer, by its name: the columns and rows of an anatomy. Mostly data."""

import re

ATTENTION, FEED_FORWARD, CONVOLUTION = "attention", "feed-forward", "convolution"
NORM, TEXT, OTHER = "norm", "text encoder", "other"
KINDS = (ATTENTION, FEED_FORWARD, CONVOLUTION, NORM, TEXT, OTHER)

# Searched in this order in the path with underscores for dots, in diffusers', LDM's and original names
KIND_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (OTHER, re.compile(r"time_emb|emb_layers|label_emb|time_text|_embedder|modulation|_mod_|adaln|norm\w*_linear$")),
    (NORM, re.compile(r"norm(?:\d+|_\d+|_out|_(?:added_)?[qkv])?$")),
    (FEED_FORWARD, re.compile(r"_ff_|_ff\d?$|mlp|feed_forward|ffn|linear_?[12]$|img_mlp|txt_mlp")),
    (
        ATTENTION,
        re.compile(r"attn|attention|to_[qkv]|to_out|qkv|(?:input|output)_blocks_\d+_1_proj|middle_block_1_proj"),
    ),
    (CONVOLUTION, re.compile(r"conv|resnets?_|_in_layers|_out_layers|skip_connection|samplers?_|_op$")),
)
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

BLOCK = re.compile(
    r"^(?P<name>down_blocks|input_blocks|mid_block|middle_block|up_blocks|output_blocks|double_blocks|single_blocks"
    r"|transformer_blocks|single_transformer_blocks|noise_refiner|context_refiner|layers|blocks|encoder_layers"
    r"|text_model_encoder_layers|encoder_block)(?:_(?P<number>\d+))?(?:_|$)"
)
# From the input to the output of a model
ORDER = (
    *("down_blocks", "input_blocks", "mid_block", "middle_block", "up_blocks", "output_blocks"),
    *("noise_refiner", "context_refiner", "double_blocks", "transformer_blocks"),
    *("single_blocks", "single_transformer_blocks", "layers", "blocks"),
)
ELSEWHERE = "elsewhere"


def kind_of(component: str, path: str, axes: int) -> str:
    """Return the kind of a module; axes: of its weight, 1 for a norm, 4 and more for a kernel, 0 if unknown."""
    if component in ENCODERS:
        return TEXT
    if axes == 1:
        return NORM
    name = path.replace(".", "_")
    found = next((kind for kind, pattern in KIND_PATTERNS if pattern.search(name)), OTHER)
    return CONVOLUTION if found == OTHER and axes > 3 else found


def block_of(component: str, path: str) -> str:
    """Return the block that a module is in: `down_blocks.1`, `mid_block`, or a whole text encoder."""
    if component in ENCODERS:
        return component
    found = BLOCK.match(path.replace(".", "_"))
    if found is None:
        return ELSEWHERE
    number = found["number"]
    middle = found["name"] in ("mid_block", "middle_block")
    return found["name"] if middle or number is None else f"{found['name']}.{number}"


def order_of(block: str) -> tuple[int, int, int]:
    """Return the key that sorts blocks: text encoders, then the model from input to output, then all others."""
    name, _, number = block.partition(".")
    if block in ENCODERS:
        return (0, ENCODERS.index(block), 0)
    return (1, ORDER.index(name), int(number or 0)) if name in ORDER else (2, 0, 0)
