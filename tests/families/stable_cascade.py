"""Stable Cascade: a folder as diffusers saves it, which diffusers 0.42 does not open again."""

from pathlib import Path

from diffusers import DDPMWuerstchenScheduler, StableCascadeCombinedPipeline
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

from tests.families import tokenizers
from tests.families.parts import WIDTH, clip_encoder

BLOCKS = {
    "conditioning_dim": 32,
    "block_out_channels": (32, 32),
    "num_attention_heads": (2, 2),
    "down_num_layers_per_block": (1, 1),
    "up_num_layers_per_block": (1, 1),
    "down_blocks_repeat_mappers": (1, 1),
    "up_blocks_repeat_mappers": (1, 1),
    "block_types_per_layer": (("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),) * 2,
    "clip_text_pooled_in_channels": WIDTH,
}


def stable_cascade(folder: Path) -> None:
    """Save a Stable Cascade whose prior is in the same folder."""
    tokenizer = tokenizers.clip()
    prior = StableCascadeUNet(
        **BLOCKS, clip_image_in_channels=WIDTH, clip_text_in_channels=WIDTH, switch_level=(False,)
    )
    pipeline = StableCascadeCombinedPipeline(
        tokenizer=tokenizer,
        text_encoder=clip_encoder(tokenizer, projected=True),
        decoder=StableCascadeUNet(**BLOCKS, in_channels=4, out_channels=4),
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2, embed_dim=8),
        prior_prior=prior,
        prior_text_encoder=clip_encoder(tokenizer, projected=True),
        prior_tokenizer=tokenizer,
        prior_scheduler=DDPMWuerstchenScheduler(),
    )
    pipeline.save_pretrained(folder)
