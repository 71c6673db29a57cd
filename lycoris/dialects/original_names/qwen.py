"""Qwen-Image 2.1 as ComfyUI has it; all other names of Qwen-Image are diffusers' own."""

from lycoris.dialects.original_names.scheme import Scheme

QWEN_2_1 = Scheme(
    "Qwen-Image 2.1",
    ("transformer_blocks.0.img_mlp.gate_layer",),
    {("transformer_blocks.*", "transformer_blocks.*"): {"img_mlp.gate_up": "img_mlp.gate_layer img_mlp.proj"}},
)
