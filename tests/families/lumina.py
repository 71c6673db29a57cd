"""Lumina 2: a transformer that reads Gemma 2 behind a system prompt."""

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.flux import CODEC
from tests.families.language_models import gemma2
from tests.families.parts import WIDTH, kl_codec
from tests.families.weights import fill


def lumina2(folder: Path) -> None:
    """Save a Lumina 2."""
    tokenizer = tokenizers.gemma()
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(8, 4, 4),
        axes_lens=(512, 64, 64),
        cap_feat_dim=WIDTH,
    )
    pipeline = Lumina2Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=kl_codec(**CODEC),
        text_encoder=gemma2(tokenizer),
        tokenizer=tokenizer,
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (Family("lumina-2", lumina2, ("transformer", "text_encoder"), multiple=16),)
