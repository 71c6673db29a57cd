"""Text encoders that are language models, of a few layers: Gemma 2, Qwen 2.5 VL, Qwen 3 VL, UMT5."""

from typing import Any

from transformers import (
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.families.parts import WIDTH

ROPE_THETA = 1e6
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_heads": 2,
    "out_hidden_size": WIDTH,
}


def decoder_sizes(tokenizer: Any, layers: int = 2) -> dict[str, Any]:
    """The sizes that configurations of all decoders name alike."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
    }


def umt5_encoder(tokenizer: Any) -> UMT5EncoderModel:
    """A UMT5 encoder of two layers."""
    config = UMT5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=8,
        d_ff=WIDTH,
        num_heads=4,
        num_layers=2,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config)


def gemma2(tokenizer: Any) -> Gemma2Model:
    """A Gemma 2 of two layers, without its head."""
    return Gemma2Model(Gemma2Config(**decoder_sizes(tokenizer), head_dim=8, query_pre_attn_scalar=8))


def qwen25_vl(tokenizer: Any, layers: int = 4) -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen 2.5 VL of four layers: some pipelines read its third last state."""
    rope = {"rope_type": "default", "mrope_section": [2, 2, 4], "rope_theta": ROPE_THETA}
    text = decoder_sizes(tokenizer, layers) | {"rope_parameters": rope}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=VISION, **_places(tokenizer))
    )


def qwen3_vl(kind: Any, tokenizer: Any, layers: int = 2) -> Any:
    """A Qwen 3 VL of that class, with its head or without."""
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": ROPE_THETA}
    text = decoder_sizes(tokenizer, layers) | {"head_dim": 8, "rope_parameters": rope}
    sight = VISION | {"deepstack_visual_indexes": [0]}
    return kind(Qwen3VLConfig(text_config=text, vision_config=sight, **_places(tokenizer)))


def _places(tokenizer: Any) -> dict[str, int]:
    """The tokens of pictures among those of a text."""
    marks = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for name, mark in marks.items()}
