"""A lone file without configurations is told where they are, whichever served family it is of, and whatever its form.

The names and shapes are those by which the files of the families' authors, and quantised ones made of them, are told.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from app.shared.base_source import read_source
from tests.workers.models.test_bad_files import as_gguf
from workers.models.folder import Unservable
from workers.models.sources import source_of

Shapes = dict[str, tuple[int, ...]]
FLUX: Shapes = {"double_blocks.0.img_attn.norm.key_norm.scale": (4,), "img_in.weight": (4, 64)}
SD3: Shapes = {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,), "pos_embed": (1, 36864, 1)}
WAN: Shapes = {"head.modulation": (1, 2, 1536), "patch_embedding.weight": (1536, 16, 1, 2, 2)}
WAN |= {"blocks.0.self_attn.q.weight": (4, 4)}
LAYERS: Shapes = {"layers.0.attention.qkv.weight": (12, 4), "noise_refiner.0.attention.qkv.weight": (12, 4)}
SANA: Shapes = {"blocks.0.cross_attn.q_linear.weight": (4, 4), "y_embedder.y_proj.fc1.weight": (4, 4)}
SANA |= {"blocks.0.cross_attn.q_linear.bias": (4,), "x_embedder.proj.weight": (4, 32, 1, 1)}
AURA: Shapes = {f"double_layers.0.attn.w{at}q.weight": (4, 4) for at in (1, 2)}
AURA |= {"cond_seq_linear.weight": (4, 4), "t_embedder.mlp.0.weight": (4, 4)}
TOLD: dict[str, tuple[Shapes, str]] = {
    "flux.1-schnell": (FLUX, "black-forest-labs/FLUX.1-schnell"),
    "flux.1-dev": (FLUX | {"guidance_in.in_layer.bias": (4,)}, "black-forest-labs/FLUX.1-dev"),
    "flux.2": (FLUX | {"single_stream_modulation.lin.weight": (4, 4)}, "black-forest-labs/FLUX.2-dev"),
    "chroma": (FLUX | {"distilled_guidance_layer.in_proj.bias": (4,)}, "lodestones/Chroma1-HD"),
    "sd-3": (SD3, "stabilityai/stable-diffusion-3-medium-diffusers"),
    "sd-3.5-medium": (SD3 | {"pos_embed": (1, 147456, 1)}, "stabilityai/stable-diffusion-3.5-medium"),
    "sd-3.5-large": ({"joint_blocks.37.x_block.mlp.fc1.weight": (4, 4)}, "stabilityai/stable-diffusion-3.5-large"),
    "qwen-image": (
        {"transformer_blocks.0.attn.add_k_proj.weight": (4, 4), "txt_norm.weight": (4,), "img_in.weight": (4, 64)},
        "Qwen/Qwen-Image",
    ),
    "wan": (WAN, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    "z-image": (LAYERS | {"layers.0.adaLN_modulation.0.weight": (4, 4)}, "Tongyi-MAI/Z-Image-Turbo"),
    "lumina-2": (LAYERS | {"cap_embedder.0.weight": (4,)}, "Alpha-VLLM/Lumina-Image-2.0"),
    "aura-flow": (AURA, "fal/AuraFlow-v0.3"),
    "sana": (SANA, "Efficient-Large-Model/Sana_1600M_1024px_diffusers"),
    "pixart": (
        {"blocks.0.cross_attn.q_linear.weight": (4, 4), "y_embedder.y_embedding": (120, 4)},
        "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    ),
    "hunyuan-image": (
        {"double_blocks.0.img_attn_qkv.weight": (12, 4), "byt5_in.fc1.weight": (4, 4)},
        "hunyuanvideo-community/HunyuanImage-2.1-Diffusers",
    ),
    "kandinsky-5": (
        {"visual_transformer_blocks.0.self_attention.to_query.weight": (4, 4)},
        "kandinskylab/Kandinsky-5.0-T2I-Lite-sft-Diffusers",
    ),
}


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
@pytest.mark.parametrize("family", TOLD)
def test_a_file_alone_is_told_where_its_configurations_are(family: str, form: str, tmp_path: Path) -> None:
    shapes, where = TOLD[family]
    file, tensors = tmp_path / "it.safetensors", {name: torch.zeros(shape) for name, shape in shapes.items()}
    save_file(tensors, file)
    if form == "gguf":
        file = as_gguf(file, tensors)
    with pytest.raises(Unservable) as caught:
        source_of(read_source(str(file)))
    said = str(caught.value)
    assert "no configuration: put the folder 'it' beside it" in said and f"(as in {where} on the hub)" in said, said
