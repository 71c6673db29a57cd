"""LDM's and SGM's names for the UNets of Stable Diffusion 1, 2, XL and its refiner, from the model's own paths.

`input_blocks.n` and `output_blocks.n` count what diffusers keeps as block i and layer j: with L = layers_per_block + 1,
n − 1 = i·L + j on the way down and n = i·L + j on the way up. kohya's SDXL files use these names, his files for SD 1
and 2 do not.
"""

import re
from collections.abc import Collection, Iterator

TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_LAYER = re.compile(r"(?:(?P<way>down|up)_blocks\.(?P<i>\d+)|mid_block)\.(?P<kind>\w+)\.(?P<j>\d+)\.(?P<rest>.+)")
_FIRST_RESNETS = re.compile(r"down_blocks\.0\.resnets\.(\d+)\.")


def ldm_names(modules: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (LDM name, the model's own path) for every module of a UNet; nothing for any other model."""
    first = {found[1] for module in modules if (found := _FIRST_RESNETS.match(module))}
    per_block = len(first) + 1
    if not first or "conv_in" not in modules:
        return
    attentive = {
        module.split(".")[1] for module in modules if module.startswith("up_blocks.") and ".attentions." in module
    }
    for module in modules:
        found = _LAYER.fullmatch(module)
        name = TOP.get(module) if found is None else _layer(found, per_block, attentive)
        if name:
            yield name, module


def _layer(found: re.Match[str], per_block: int, attentive: Collection[str]) -> str | None:
    way, kind, j = found["way"], found["kind"], int(found["j"])
    rest = RESNET.get(found["rest"]) if kind == "resnets" else found["rest"]
    if rest is None:
        return None
    if way is None:  # resnet, attention, resnet
        place = {"resnets": 2 * j, "attentions": 1}.get(kind)
        return None if place is None else f"middle_block.{place}.{rest}"
    before = int(found["i"]) * per_block
    match way, kind:
        case _, "resnets" | "attentions":
            n, s = before + j + (way == "down"), int(kind == "attentions")
            return f"{'input' if way == 'down' else 'output'}_blocks.{n}.{s}.{rest}"
        case "down", "downsamplers":
            return f"input_blocks.{before + per_block}.0.op"
        case "up", "upsamplers":
            return f"output_blocks.{before + per_block - 1}.{1 + (found['i'] in attentive)}.conv"
        case _:
            return None
