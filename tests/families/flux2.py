"""FLUX.2 [klein] and [dev]: three layers of a language model side by side are what they read."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from transformers import Mistral3Config, Mistral3ForConditionalGeneration, Qwen3Config, Qwen3ForCausalLM

from tests.families import tokenizers
from tests.families.family import Family, opened
from tests.families.weights import fill

NARROW = 16  # of a language model: it has as many layers as the pipeline counts to
READ = 3  # layers side by side
PROCESSOR = ["transformers", "PixtralProcessor"]
TOKENIZER = ["transformers", "LlamaTokenizer"]


def _transformer(*, guided: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,  # 2×2 latents of 4 channels
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=READ * NARROW,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guided,
    )


def _codec() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def klein(folder: Path) -> None:
    """Save a distilled FLUX.2 [klein], which reads no guidance."""
    tokenizer = tokenizers.qwen()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=NARROW,
        intermediate_size=NARROW,
        num_hidden_layers=28,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
    )
    pipeline = Flux2KleinPipeline(
        transformer=_transformer(guided=False),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_codec(),
        text_encoder=Qwen3ForCausalLM(config),
        tokenizer=tokenizer,
        is_distilled=True,
    )
    fill(pipeline).save_pretrained(folder)


def dev(folder: Path) -> None:
    """Save a FLUX.2 [dev], whose folder names a processor of pictures where others name a tokenizer."""
    tokenizer = tokenizers.mistral()
    text: dict[str, Any] = {
        "model_type": "mistral",
        "vocab_size": len(tokenizer),
        "hidden_size": NARROW,
        "intermediate_size": NARROW,
        "num_hidden_layers": 30,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sight: dict[str, Any] = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
        "intermediate_size": 16,
        "image_size": 28,
        "patch_size": 14,
    }
    image = tokenizer.convert_tokens_to_ids("[IMG]")
    pipeline = Flux2Pipeline(
        transformer=_transformer(guided=True),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_codec(),
        text_encoder=Mistral3ForConditionalGeneration(
            Mistral3Config(text_config=text, vision_config=sight, image_token_index=image)
        ),
        tokenizer=tokenizer,
    )
    fill(pipeline).save_pretrained(folder)
    _rename(folder, TOKENIZER, PROCESSOR)
    pictures = {"image_processor_type": "PixtralImageProcessor", "patch_size": {"height": 14, "width": 14}}
    words = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    (folder / "tokenizer/preprocessor_config.json").write_text(json.dumps(pictures))
    (folder / "tokenizer/processor_config.json").write_text(
        json.dumps({"processor_class": "PixtralProcessor", "patch_size": 14} | words)
    )


def opened_with_tokenizer(folder: Path) -> Any:
    """The pipeline with its processor's tokenizer alone: the processor cannot be made where torchvision is not."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "model"
        shutil.copytree(folder, copy)
        _rename(copy, PROCESSOR, TOKENIZER)
        return opened(copy)


def _rename(folder: Path, before: list[str], after: list[str]) -> None:
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    assert index["tokenizer"] == before, index["tokenizer"]
    path.write_text(json.dumps(index | {"tokenizer": after}, indent=2))


FAMILIES = (
    Family("flux.2-klein", klein, ("transformer", "text_encoder"), guidance=None, negative=False, multiple=16),
    Family("flux.2-dev", dev, ("transformer", "text_encoder"), opened_with_tokenizer, negative=False, multiple=16),
)
