"""AuraFlow: flow matching with UMT5."""

from pathlib import Path

from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import umt5_encoder
from tests.families.parts import WIDTH, kl_codec
from tests.families.weights import fill

LATENTS = 4


def aura_flow(folder: Path) -> None:
    """Save an AuraFlow."""
    tokenizer = tokenizers.t5()
    transformer = AuraFlowTransformer2DModel(
        sample_size=64,
        patch_size=2,
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=WIDTH,
        pos_embed_max_size=1024,
    )
    pipeline = AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=umt5_encoder(tokenizer),
        vae=kl_codec(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )
    fill(pipeline, gain=2.0).save_pretrained(folder)


FAMILIES = (Family("aura-flow", aura_flow, ("transformer", "text_encoder"), multiple=16),)
