"""The bundled model's parts, blank: a StableDiffusionPipeline of 9.9 M parameters that draws 64×64 pictures."""

import json
from collections.abc import Iterable

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

VOCABULARY = 2864
PROMPT_TOKENS = 24
START, END = "<|startoftext|>", "<|endoftext|>"


def blank(seed: int, texts: Iterable[str]) -> StableDiffusionPipeline:
    """Every part at random, with a tokenizer learnt from `texts`; the codec's encoder is filled in by `codec`."""
    torch.manual_seed(seed)
    return assemble(unet=_unet(), text_encoder=_text_encoder(), vae=_vae(), tokenizer=_tokenizer(texts))


def assemble(
    *,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """The parts as one pipeline, with the scheduler this model is trained for."""
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        # Zero terminal SNR (Lin et al. 2023, arXiv:2305.08891): without it a white background cannot be drawn.
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        unet=unet,
        text_encoder=text_encoder,
        vae=vae,  # pyright: ignore[reportArgumentType]  (the pipeline's annotation names AutoencoderKL only)
        tokenizer=tokenizer,
        scheduler=scheduler,  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=24,
        out_channels=24,
        block_out_channels=(128, 160),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=(4, 5),  # pyright: ignore[reportArgumentType]  (heads of 32; annotated as one number only)
        norm_num_groups=16,
    )


def _text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=PROMPT_TOKENS,
        projection_dim=128,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
    )
    return CLIPTextModel(config)


def _vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        latent_channels=24,
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=(2, 3, 2, 1),
        decoder_block_out_channels=(32, 32, 32, 32),
        encoder_block_out_channels=(64, 64, 64, 64),
        scaling_factor=2.5,
    )


def _tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """Byte-pair encoding with every byte as fallback (CLIP's scheme), so that any prompt tokenizes."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    bpe.normalizer = normalizers.Lowercase()
    words = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    byte_alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(byte_alphabet) - 2,
        initial_alphabet=byte_alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    vocabulary, merges = _with_every_byte(bpe, byte_alphabet)
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # pyright: ignore[reportArgumentType]  (pairs are what its BPE takes)
        model_max_length=PROMPT_TOKENS,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
    )


def _with_every_byte(bpe: Tokenizer, alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    learnt = json.loads(bpe.to_str())["model"]
    ends = [f"{byte}</w>" for byte in alphabet]
    merges = [tuple(merge) for merge in learnt["merges"]]
    words = list(dict.fromkeys([*alphabet, *ends, *learnt["vocab"]]))[: VOCABULARY - 2]
    kept = set(words)
    merges = [(left, right) for left, right in merges if left in kept and right in kept and left + right in kept]
    words += [f"<unused{i}>" for i in range(VOCABULARY - 2 - len(words))]
    return {word: i for i, word in enumerate([*words, START, END])}, merges
