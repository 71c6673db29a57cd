"""Bases that read prompts, and adapters with embeddings for them: what the tests of embeddings share."""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from app.shared.settings import Settings
from lycoris import StackEntry, load
from tests.app.shared.making import profile
from workers.models import sources
from workers.models.components import components_of
from workers.models.loading import LoadedModel

WIDE_L, WIDE_G, WIDE_T5, WIDE_BUNDLED = 32, 48, 24, 128
BUNDLED = sources.find("bundled:emoji-64")
SETTINGS = Settings.model_validate({"threads": 1})


def vectors(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.3


def entry(tensors: dict[str, Tensor], strength: float = 1.0, strengths: dict[str, float] | None = None) -> StackEntry:
    return StackEntry(load(save(tensors)), strength, strengths or {})


def single(count: int = 3, trigger: str = "zorp", seed: int = 0, strength: float = 1.0) -> StackEntry:
    """An adapter for a base with one CLIP, as A1111 writes its embeddings."""
    return entry({f"bundle_emb.{trigger}.string_to_param.*": vectors(count, WIDE_BUNDLED, seed)}, strength)


def clip(kind: type[CLIPTextModel | CLIPTextModelWithProjection], width: int, eos: int) -> Any:
    torch.manual_seed(width)
    config = CLIPTextConfig(
        vocab_size=2864,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        projection_dim=40,
        bos_token_id=2862,
        eos_token_id=eos,
        pad_token_id=2863,
    )
    return kind(config).eval().requires_grad_(False)


def made(pipeline: Any) -> LoadedModel:
    return LoadedModel(pipeline, components_of(pipeline), profile(), BUNDLED)


def sdxl(eos: int = 2863) -> LoadedModel:
    """A pipeline with two CLIPs, as far as the reading of a prompt goes."""
    tokenizers = [CLIPTokenizer.from_pretrained(BUNDLED / "tokenizer") for _ in range(2)]
    encoders = clip(CLIPTextModel, WIDE_L, eos), clip(CLIPTextModelWithProjection, WIDE_G, eos)
    return made(
        StableDiffusionXLPipeline(
            vae=AutoencoderTiny(),  # pyright: ignore[reportArgumentType]
            text_encoder=encoders[0],
            text_encoder_2=encoders[1],
            tokenizer=tokenizers[0],
            tokenizer_2=tokenizers[1],
            unet=None,  # pyright: ignore[reportArgumentType]
            scheduler=DDIMScheduler(),  # pyright: ignore[reportArgumentType]
            add_watermarker=False,
        )
    )


def flux() -> LoadedModel:
    """A pipeline with a CLIP and a T5, as far as the reading of a prompt goes."""
    pieces = ["▁", "▁a", "▁red", "▁apple", "o", "r", "p", "z", ",", "▁on"]
    vocabulary = [*((name, 0.0) for name in ("<pad>", "</s>", "<unk>")), *((piece, -1.0) for piece in pieces)]
    torch.manual_seed(5)
    # More rows than the tokenizer has words, as all of them have
    config = T5Config(vocab_size=40, d_model=WIDE_T5, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
    return made(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=AutoencoderTiny(),  # pyright: ignore[reportArgumentType]
            text_encoder=clip(CLIPTextModel, WIDE_L, 2),
            tokenizer=CLIPTokenizer.from_pretrained(BUNDLED / "tokenizer"),
            text_encoder_2=T5EncoderModel(config).eval().requires_grad_(False),  # pyright: ignore[reportArgumentType]
            tokenizer_2=T5Tokenizer(vocab=vocabulary, extra_ids=0),  # pyright: ignore[reportArgumentType]
            transformer=None,  # pyright: ignore[reportArgumentType]
        )
    )


def ids(base: LoadedModel, prompt: str) -> list[int]:
    return base.pipeline.tokenizer(prompt).input_ids
