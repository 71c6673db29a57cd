"""Parts small enough to train in a test, of the same classes as the bundled model's."""

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel

from workers.training.emoji import architecture, codec, latents
from workers.training.emoji.items import Item

NAMES = ("red disc", "green disc", "blue square", "red square", "green bar")


def pictures() -> dict[str, np.ndarray]:
    """Five made-up drawings, RGBA [64, 64, 4]."""
    rows, columns = np.mgrid[0:64, 0:64]
    shapes = {
        "disc": np.hypot(rows - 32, columns - 32) < 24,
        "square": (abs(rows - 32) < 20) & (abs(columns - 32) < 20),
        "bar": abs(rows - 32) < 10,
    }
    colours = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.2, 0.9)}
    drawn = {}
    for name in NAMES:
        colour, shape = name.split()
        alpha = shapes[shape].astype(np.float32)
        drawn[name] = np.dstack([np.broadcast_to(np.array(colours[colour], np.float32), (64, 64, 3)), alpha])
    return drawn


def catalogue() -> list[Item]:
    """The five as items; the last one is held out."""
    return [Item(name=name, kind="core", hexcode=name, held_out=name == NAMES[-1]) for name in NAMES]


def pipeline(seed: int = 1, layers: int = 1) -> StableDiffusionPipeline:
    """A pipeline of some hundred thousand parameters; every width is a multiple of 32, as in the bundled one."""
    torch.manual_seed(seed)
    tokenizer = architecture._tokenizer(NAMES)
    text = CLIPTextConfig(
        vocab_size=architecture.VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=architecture.PROMPT_TOKENS,
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,  # pyright: ignore[reportArgumentType]
        eos_token_id=tokenizer.eos_token_id,  # pyright: ignore[reportArgumentType]
        pad_token_id=tokenizer.pad_token_id,  # pyright: ignore[reportArgumentType]
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=24,
        out_channels=24,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=1,
        norm_num_groups=8,
    )
    vae = AutoencoderTiny(
        latent_channels=24,
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=(1, 1, 1, 1),
        decoder_block_out_channels=(16, 16, 16, 16),
        scaling_factor=2.5,
    )
    codec.fill_encoder(vae, codec.patches(pictures().values()))
    return architecture.assemble(unet=unet, text_encoder=CLIPTextModel(text), vae=vae, tokenizer=tokenizer)


def latent_set(pipe: StableDiffusionPipeline) -> latents.LatentSet:
    """The training set that the five items make."""
    return latents.build(catalogue(), pictures(), pipe.vae, pipe.tokenizer)
