"""HunyuanDiT, drawn at a table of sizes alone, and HunyuanImage 2.1, whose guidance is an object of its own."""

from pathlib import Path

from diffusers import (
    AutoencoderKLHunyuanImage,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance
from transformers import BertConfig, BertModel, ByT5Tokenizer

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import qwen25_vl
from tests.families.parts import WIDTH, kl_codec, t5_encoder
from tests.families.weights import fill

HEADS, HEAD = 2, 8
LATENTS = 4
NOISE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.018,
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
}
TEMPLATE = (  # words of HunyuanImage's template, each one token in the true vocabulary
    *("Describe", "image", "by", "detailing", "color", "shape", "size", "texture", "quantity", "spatial"),
    *("relationships", "objects", "background"),
)


def hunyuan_dit(folder: Path) -> None:
    """Save a HunyuanDiT: BERT and T5."""
    tokenizer, tokenizer_2 = tokenizers.bert(), tokenizers.t5(256)
    bert = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformer = HunyuanDiT2DModel(
        sample_size=128,
        num_layers=2,
        patch_size=2,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        hidden_size=HEADS * HEAD,
        in_channels=LATENTS,
        cross_attention_dim=WIDTH,
        cross_attention_dim_t5=WIDTH,
        pooled_projection_dim=WIDTH,
    )
    pipeline = HunyuanDiTPipeline(
        vae=kl_codec(block_out_channels=(4, 4, 8, 8), mid_block_add_attention=False),
        text_encoder=BertModel(bert),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=transformer,
        scheduler=DDPMScheduler(**NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    fill(pipeline).save_pretrained(folder)


def hunyuan_image(folder: Path) -> None:
    """Save a HunyuanImage 2.1: Qwen 2.5 VL, and ByT5 for what stands in quotation marks."""
    tokenizer, tokenizer_2 = tokenizers.qwen(words=TEMPLATE), ByT5Tokenizer()
    transformer = HunyuanImageTransformer2DModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        rope_axes_dim=(4, 4),
    )
    levels = 6
    vae = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENTS,
        block_out_channels=(32,) * levels,
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=128,
        scaling_factor=0.75289,
    )
    pipeline = HunyuanImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae=vae,
        text_encoder=qwen25_vl(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=transformer,
        guider=AdaptiveProjectedMixGuidance(
            guidance_scale=3.5, adaptive_projected_guidance_start_step=5, adaptive_projected_guidance_scale=10.0
        ),
        ocr_guider=AdaptiveProjectedMixGuidance(
            guidance_scale=3.5, adaptive_projected_guidance_start_step=38, adaptive_projected_guidance_scale=10.0
        ),
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (
    Family(
        "hunyuan-dit",
        hunyuan_dit,
        ("transformer", "text_encoder", "text_encoder_2"),
        multiple=16,
        extra={"use_resolution_binning": False},  # else the nearest of ten sizes is drawn
    ),
    Family(
        "hunyuan-image-2.1",
        hunyuan_image,
        ("transformer", "text_encoder", "text_encoder_2"),
        guidance=None,
        multiple=32,
        prompt="a red apple on a tree " * 8 + '"no square, the sea"',  # the second text encoder reads what is quoted
    ),
)
