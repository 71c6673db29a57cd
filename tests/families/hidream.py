"""HiDream: a mixture of experts that reads two CLIPs, T5 and Llama, and draws a million pixels whatever is asked."""

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, HiDreamImagePipeline, HiDreamImageTransformer2DModel
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.flux import CODEC
from tests.families.parts import WIDTH, clip_encoder, kl_codec, t5_encoder
from tests.families.weights import fill

TOKENS = 128  # that each of its encoders reads
EDGE = (256, 256)  # 128 latents, as always; here one is 2 pixels wide


def hidream(folder: Path) -> None:
    """Save a HiDream."""
    first, second, third, fourth = (
        tokenizers.clip(),
        tokenizers.clip(),
        tokenizers.t5(),
        tokenizers.llama(),
    )
    transformer = HiDreamImageTransformer2DModel(
        patch_size=4,  # not 2: 1,024 places are looked at quicker than 4,096
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=[WIDTH, WIDTH],
        text_emb_dim=2 * WIDTH,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(128, 128),
        llama_layers=(0, 1),
    )
    language = LlamaConfig(
        vocab_size=len(fourth),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=fourth.bos_token_id,
        eos_token_id=fourth.eos_token_id,
    )
    pipeline = HiDreamImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl_codec(**CODEC, levels=2, mid_block_add_attention=False),  # of 16,384 places with each other
        text_encoder=clip_encoder(first, projected=True, max_position_embeddings=TOKENS),
        tokenizer=first,
        text_encoder_2=clip_encoder(second, projected=True, max_position_embeddings=TOKENS),
        tokenizer_2=second,
        text_encoder_3=t5_encoder(third),
        tokenizer_3=third,
        text_encoder_4=LlamaForCausalLM(language),
        tokenizer_4=fourth,
    )
    fill(pipeline).save_pretrained(folder)


ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
FAMILIES = (Family("hidream", hidream, ("transformer", *ENCODERS), size=EDGE),)
