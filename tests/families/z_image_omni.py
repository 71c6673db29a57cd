"""Z-Image-Omni: a Z-Image that can be shown pictures too, by SigLIP."""

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, ZImageOmniPipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model, Siglip2ImageProcessorPil, Siglip2VisionConfig, Siglip2VisionModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import decoder_sizes
from tests.families.parts import WIDTH, kl_codec
from tests.families.weights import fill

LATENTS = 4


def z_image_omni(folder: Path) -> None:
    """Save a Z-Image-Omni."""
    tokenizer = tokenizers.qwen()
    transformer = ZImageTransformer2DModel(
        in_channels=LATENTS,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        siglip_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    sight = Siglip2VisionConfig(
        hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, num_patches=16
    )
    pipeline = ZImageOmniPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl_codec(LATENTS, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=Qwen3Model(Qwen3Config(**decoder_sizes(tokenizer, layers=3), head_dim=16)),
        tokenizer=tokenizer,
        transformer=transformer,
        siglip=Siglip2VisionModel(sight),
        siglip_processor=Siglip2ImageProcessorPil(),
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (Family("z-image-omni", z_image_omni, ("transformer", "text_encoder"), multiple=16),)
