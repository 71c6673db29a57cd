"""Configurations of a lone file of Stable Diffusion 1 or XL, made of its shapes and of what shapes do not tell.

That is in the tables below, with where it is from. What does not fit the file after all is found when it is loaded:
every weight has to have a place, and every place a weight.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.models.weight_files import Stored, Unservable

UNET, VAE = "model.diffusion_model.", "first_stage_model."
HEAD = 64  # numbers of a head of attention: in every CLIP, and in the UNet of XL
# How noise is added: CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml; and
# Stability-AI/generative-models, sgm/modules/diffusionmodules/discretizer.py (LegacyDDPMDiscretization)
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
# How fine-tunes say by an empty tensor in the file that they predict velocity, and are taught down to no signal
VELOCITY, NO_SIGNAL = "v_pred", "ztsnr"
CLIP_L = {  # openai/clip-vit-large-patch14, config.json
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
BIG_G = {"hidden_act": "gelu"}  # laion/CLIP-ViT-bigG-14-laion2B-39B-b160k, config.json
CLIP = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # as both were saved: the pooled token is the highest
VOCABULARY = "openai/clip-vit-large-patch14"  # the repository with the vocabulary of both

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Kind:
    """A family whose configurations can be made.

    holds: beginnings of names that a file of it has. size: edge of its latents. tokenizers: what each pads with.
    """

    name: str
    holds: tuple[str, ...]
    pipeline: str
    size: int
    scaling: float
    scheduler: tuple[str, Mapping[str, Any]]
    heads: Callable[[list[int]], Any]
    encoders: Mapping[str, tuple[str, str, Mapping[str, Any]]]  # part -> class, beginning of its names, its facts
    tokenizers: Mapping[str, str]
    said: Mapping[str, Any]  # of the pipeline itself


KINDS = (
    Kind(
        name="Stable Diffusion XL",
        holds=("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
        pipeline="StableDiffusionXLPipeline",
        size=128,
        scaling=0.13025,
        scheduler=("EulerDiscreteScheduler", {}),
        heads=lambda widths: [width // HEAD for width in widths],
        encoders={
            "text_encoder": ("CLIPTextModel", "conditioner.embedders.0.transformer.text_model.", CLIP_L),
            "text_encoder_2": ("CLIPTextModelWithProjection", "conditioner.embedders.1.model.", BIG_G),
        },
        tokenizers={"tokenizer": "<|endoftext|>", "tokenizer_2": "!"},
        said={"force_zeros_for_empty_prompt": True},
    ),
    Kind(
        name="Stable Diffusion 1",
        holds=("cond_stage_model.transformer.",),
        pipeline="StableDiffusionPipeline",
        size=64,
        scaling=0.18215,
        scheduler=("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
        heads=lambda _: 8,
        encoders={"text_encoder": ("CLIPTextModel", "cond_stage_model.transformer.text_model.", CLIP_L)},
        tokenizers={"tokenizer": "<|endoftext|>"},
        said={"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False},
    ),
)


def made(header: Mapping[str, Stored]) -> tuple[Kind, dict[str, dict[str, Any]]] | None:
    """Return the kind of a file and the configuration of each part, the pipeline's under `""`; None for another kind.

    Raises Unservable where the file lacks what they are read from.
    """
    shapes = {name: stored.shape for name, stored in header.items()}
    kind = next((one for one in KINDS if all(any(name.startswith(h) for name in shapes) for h in one.holds)), None)
    if kind is None or not any(name.startswith(f"{UNET}input_blocks.") for name in shapes):
        return None
    try:
        encoders = {
            part: {"architectures": [name], "model_type": "clip_text_model", **_clip(shapes, start), **CLIP, **facts}
            for part, (name, start, facts) in kind.encoders.items()
        }
        configs = {"unet": _unet(kind, shapes), "scheduler": _scheduler(kind, header), **encoders}
        if any(name.startswith(VAE) for name in shapes):
            configs["vae"] = _vae(kind, shapes)
    except (IndexError, KeyError, ValueError) as error:
        raise Unservable(f"it is like a {kind.name}, and lacks {error}") from error
    index = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    index |= {part: ["transformers", name] for part, (name, _, _) in kind.encoders.items()}
    index |= {part: ["transformers", "CLIPTokenizer"] for part in kind.tokenizers}
    index["scheduler"] = ["diffusers", kind.scheduler[0]]
    return kind, configs | {"": {"_class_name": kind.pipeline, **index, **kind.said}}


def _scheduler(kind: Kind, header: Mapping[str, Stored]) -> dict[str, Any]:
    name, facts = kind.scheduler
    said = {"_class_name": name, **NOISE, **facts}
    if VELOCITY in header:
        said["prediction_type"] = "v_prediction"
    if NO_SIGNAL in header:
        # A scheduler that can begin without a signal
        said |= {
            "_class_name": "EulerDiscreteScheduler",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
        }
    return said


def _unet(kind: Kind, shapes: Shapes) -> dict[str, Any]:
    widths, depths, layers = _levels(shapes)
    attends = [depth > 0 for depth in depths]
    crossing = next(
        shape[1] for name, shape in shapes.items() if name.endswith("transformer_blocks.0.attn2.to_k.weight")
    )
    flat = next(
        len(shape) == 2 for name, shape in shapes.items() if re.match(rf"{UNET}input_blocks.*\.proj_in\.weight", name)
    )
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": kind.size,
        "in_channels": shapes[f"{UNET}input_blocks.0.0.weight"][1],
        "out_channels": shapes[f"{UNET}out.2.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if one else "DownBlock2D" for one in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)],
        "transformer_layers_per_block": [depth or 1 for depth in depths],
        "cross_attention_dim": crossing,
        "attention_head_dim": kind.heads(widths),
        "use_linear_projection": flat,
    }
    if told := shapes.get(
        f"{UNET}label_emb.0.0.weight"
    ):  # the sizes of the picture, six numbers, beside the pooled text
        pooled = shapes["conditioner.embedders.1.model.text_projection"][1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (told[1] - pooled) // 6,
            "projection_class_embeddings_input_dim": told[1],
        }
    return config


def _levels(shapes: Shapes) -> tuple[list[int], list[int], int]:
    """Return of each level of a UNet its width and how many transformers follow each other in it; and its layers."""
    widths: list[int] = []
    depths: list[int] = []
    layers = 0
    for number in range(1, _count(shapes, f"{UNET}input_blocks.")):
        block = f"{UNET}input_blocks.{number}."
        if f"{block}0.op.weight" in shapes:  # the way down to the next level
            layers = 0
            continue
        if not layers:
            widths.append(shapes[f"{block}0.out_layers.3.weight"][0])
            depths.append(_count(shapes, f"{block}1.transformer_blocks."))
        layers += 1
    return widths, depths, layers


def _vae(kind: Kind, shapes: Shapes) -> dict[str, Any]:
    levels = _count(shapes, f"{VAE}encoder.down.")
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": kind.size * 8,
        "latent_channels": shapes[f"{VAE}decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"{VAE}encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)],
        "layers_per_block": _count(shapes, f"{VAE}encoder.down.0.block."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": kind.scaling,
    }


def _clip(shapes: Shapes, start: str) -> dict[str, Any]:
    """Return the sizes of a CLIP, in the names of transformers or of open_clip."""
    if f"{start}token_embedding.weight" in shapes:
        words, positions = shapes[f"{start}token_embedding.weight"], shapes[f"{start}positional_embedding"]
        layers = f"{start}transformer.resblocks."
        inner, more = shapes[f"{layers}0.mlp.c_fc.weight"], {"projection_dim": shapes[f"{start}text_projection"][1]}
    else:
        words = shapes[f"{start}embeddings.token_embedding.weight"]
        positions = shapes[f"{start}embeddings.position_embedding.weight"]
        layers = f"{start}encoder.layers."
        inner, more = shapes[f"{layers}0.mlp.fc1.weight"], {}
    return {
        "vocab_size": words[0],
        "hidden_size": words[1],
        "intermediate_size": inner[0],
        "max_position_embeddings": positions[0],
        "num_hidden_layers": _count(shapes, layers),
        "num_attention_heads": max(words[1] // HEAD, 1),
        **more,
    }


def _count(shapes: Shapes, start: str) -> int:
    """Return how many different numbers follow a beginning of names."""
    return len({name.removeprefix(start).partition(".")[0] for name in shapes if name.startswith(start)})
