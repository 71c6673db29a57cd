"""Kandinsky 2.2, a prior and a decoder in one pipeline, and Kandinsky 3: UNets with a quantised codec."""

from pathlib import Path

from diffusers import (
    DDPMScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    KandinskyV22CombinedPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.parts import WIDTH, clip_encoder, t5_encoder
from tests.families.weights import fill

LATENTS = 4
NOISE = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012}
BOUNDED = {"clip_sample": False, "thresholding": True, "sample_max_value": 2.0}
PICTURE = 32  # edge of what the prior's image encoder sees, in pixels


def codec() -> VQModel:
    """The quantised codec, of factor 8."""
    levels = 4
    return VQModel(
        block_out_channels=(32,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=LATENTS,
        vq_embed_dim=LATENTS,
        num_vq_embeddings=16,
        layers_per_block=1,
        norm_num_groups=4,
        norm_type="spatial",
        mid_block_add_attention=False,
    )


def kandinsky22(folder: Path) -> None:
    """Save a Kandinsky 2.2 whose prior is in the same folder."""
    tokenizer = tokenizers.clip()
    unet = UNet2DConditionModel(
        in_channels=LATENTS,
        out_channels=2 * LATENTS,  # the noise and its variance
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        encoder_hid_dim=WIDTH,
        cross_attention_dim=WIDTH,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        sample_size=64,
    )
    seen = CLIPVisionConfig(
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=PICTURE,
        patch_size=PICTURE // 2,
    )
    pipeline = KandinskyV22CombinedPipeline(
        unet=unet,
        scheduler=DDPMScheduler(**NOISE, variance_type="learned_range", **BOUNDED),
        movq=codec(),
        prior_prior=PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=WIDTH, num_embeddings=77
        ),
        prior_image_encoder=CLIPVisionModelWithProjection(seen),
        prior_text_encoder=clip_encoder(tokenizer, projected=True),
        prior_tokenizer=tokenizer,
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=10.0
        ),
        prior_image_processor=CLIPImageProcessorPil(size=PICTURE, crop_size=PICTURE),
    )
    fill(pipeline).save_pretrained(folder)


def kandinsky3(folder: Path) -> None:
    """Save a Kandinsky 3."""
    tokenizer = tokenizers.t5(128)
    unet = Kandinsky3UNet(
        in_channels=LATENTS,
        time_embedding_dim=16,
        groups=4,
        attention_head_dim=8,
        layers_per_block=3,
        block_out_channels=(16, 16),
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
    )
    pipeline = Kandinsky3Pipeline(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer),
        unet=unet,
        scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", beta_start=0.00085, beta_end=0.012, steps_offset=1, **BOUNDED
        ),
        movq=codec(),
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (
    Family(
        "kandinsky-2.2",
        kandinsky22,
        ("unet", "prior_prior", "prior_text_encoder"),
        multiple=64,
        extra={"prior_guidance_scale": 3.0},  # a request's guidance is that of both
    ),
    Family("kandinsky-3", kandinsky3, ("unet", "text_encoder"), multiple=64),
)
