"""Z-Image: one stream of text and picture, read by Qwen3."""

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.flux import CODEC
from tests.families.parts import WIDTH, kl_codec
from tests.families.weights import fill


def z_image(folder: Path) -> None:
    """Save a Z-Image."""
    tokenizer = tokenizers.qwen()
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=3,  # the last one is not read
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
    )
    pipeline = ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl_codec(**CODEC),
        text_encoder=Qwen3Model(config),
        tokenizer=tokenizer,
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (Family("z-image", z_image, ("transformer", "text_encoder"), multiple=16),)
