"""Parts that several families have: text encoders, and the codec between pixels and latents."""

from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

WIDTH = 32  # of every text encoder here


def clip_encoder(tokenizer: Any, projected: bool = False, **changed: Any) -> Any:
    """A CLIP text encoder of two layers; with the projection of a pooled output, as a second one has it."""
    plain: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "projection_dim": WIDTH,
    }
    config = CLIPTextConfig(**plain | changed)
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5_encoder(tokenizer: Any, **changed: Any) -> T5EncoderModel:
    """A T5 encoder of two layers, gated as those of version 1.1 are."""
    plain: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "d_model": WIDTH,
        "d_kv": 8,
        "d_ff": WIDTH,
        "num_heads": 4,
        "num_layers": 2,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    }
    return T5EncoderModel(T5Config(**plain | changed))


def kl_codec(latent_channels: int = 4, levels: int = 4, **changed: Any) -> AutoencoderKL:
    """A codec whose latents have an edge of 1/8 of the picture's, or of half for each level."""
    plain: dict[str, Any] = {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": (8,) * levels,
        "layers_per_block": 1,
        "latent_channels": latent_channels,
        "norm_num_groups": 4,
        "sample_size": 64,
    }
    return AutoencoderKL(**plain | changed)
