"""Cosmos Predict 2, text to image.

Its guardrail is a library of its own, of gigabytes; here it is one that lets all pass. A true one is told where the
picture is padded, too, for which diffusers uses torchvision; a tiny one is not.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    Cosmos2TextToImagePipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    ModelMixin,
)
from diffusers.pipelines.cosmos import pipeline_cosmos2_text2image
from torch import nn

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.parts import WIDTH, t5_encoder
from tests.families.wan import LATENTS, codec
from tests.families.weights import fill

GUARDRAIL = pipeline_cosmos2_text2image.CosmosSafetyChecker  # as diffusers has it; raises where it is not installed


class LetsAllPass(ModelMixin):
    """What the pipeline asks of a guardrail."""

    def __init__(self) -> None:
        super().__init__()
        self.somewhere = nn.Parameter(torch.zeros(1))  # a pipeline's device is that of its parts

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: np.ndarray) -> np.ndarray:
        return frames


def cosmos2(folder: Path) -> None:
    """Save a Cosmos Predict 2."""
    pipeline_cosmos2_text2image.CosmosSafetyChecker = LetsAllPass  # the pipeline makes one where the folder has none
    tokenizer = tokenizers.t5()
    transformer = CosmosTransformer3DModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2,
        text_embed_dim=WIDTH,
        adaln_lora_dim=4,
        max_size=(4, 64, 64),
        extra_pos_embed_type=None,
        concat_padding_mask=False,
    )
    pipeline = Cosmos2TextToImagePipeline(
        text_encoder=t5_encoder(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        vae=codec(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
    )
    pipeline.register_modules(safety_checker=None)
    fill(pipeline).save_pretrained(folder)


FAMILIES = (
    Family(
        "cosmos-2",
        cosmos2,
        ("transformer", "text_encoder"),
        multiple=16,
        extra={"negative_prompt": ""},  # without one diffusers has a long one of its own
    ),
)
