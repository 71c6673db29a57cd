"""The architecture of an adapter: by names and widths, never against them, and only as surely as they show it."""

from unittest.mock import ANY

import pytest

from lycoris import inspect
from lycoris.adapter import read_names
from lycoris.architectures.detect import Architecture, architecture_of_adapter, disagreements
from lycoris.architectures.signatures import TIERS
from tests.lycoris.keys import published
from tests.lycoris.test_keys import ALIKE, BASES, LISTS, MORE_BASES, index, keys, model_of

ATTENTION = "attentions_0_transformer_blocks"


def lora(module: str, o: int, i: int, *kernel: int) -> dict[str, tuple[int, ...]]:
    return {f"{module}.lora_up.weight": (o, 4, *(1 for _ in kernel)), f"{module}.lora_down.weight": (4, i, *kernel)}


def base(tensors: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Architecture | None:
    adapter, reasons = read_names({**tensors, "__metadata__": metadata} if metadata else tensors)
    assert not reasons
    return architecture_of_adapter(adapter)


FILES: dict[str, tuple[dict[str, tuple[int, ...]], str | None, bool]] = {  # file -> tensors, architecture, surely
    "loha, by the product's width": (
        {f"lora_unet_mid_block_{ATTENTION}_0_attn2_to_k.hada_w{h}_a": (1280, 4) for h in (1, 2)}
        | {f"lora_unet_mid_block_{ATTENTION}_0_attn2_to_k.hada_w{h}_b": (4, 1024) for h in (1, 2)},
        "SD 2",
        True,
    ),
    "lokr, by the product of both widths": (
        {
            f"lora_unet_middle_block_1_transformer_blocks_0_attn2_to_v.lokr_{factor}": shape
            for factor, shape in {"w1_a": (16, 4), "w1_b": (4, 32), "w2": (80, 64)}.items()
        },
        "SDXL",
        True,
    ),
    "whole differences": (
        {"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.diff": (1536, 1280)}, "SDXL refiner", True
    ),
    "attention to itself only, deep": (lora(f"lora_unet_mid_block_{ATTENTION}_9_attn1_to_q", 1280, 1280), "SDXL", True),
    "attention to itself only, twice": (lora(f"unet.up_blocks.1.{ATTENTION}.1.attn1.to_q", 640, 640), "SDXL", False),
    "attention to itself only, first level": (
        lora(f"lora_unet_down_blocks_0_{ATTENTION}_0_attn1_to_q", 320, 320), "SD 1", False
    ),
    "the refiner's widths": (lora(f"lora_unet_down_blocks_1_{ATTENTION}_1_attn1_to_q", 768, 768), "SDXL refiner", True),
    "projected by convolutions": (lora("lora_unet_down_blocks_0_attentions_0_proj_in", 320, 320, 1, 1), "SD 1", True),
    "projected by linear layers": (lora("lora_unet_down_blocks_0_attentions_0_proj_in", 320, 320), "SD 2", True),
    "sizes": (lora("lora_unet_label_emb_0_0", 1280, 2816), "SDXL", True),
    "the refiner's sizes": (lora("lora_unet_add_embedding_linear_1", 1536, 2560), "SDXL refiner", True),
    "a text encoder of width 768": (
        lora("lora_te_text_model_encoder_layers_0_mlp_fc1", 3072, 768), "SD 1", False
    ),
    "a text encoder of width 1024": (
        lora("lora_te_text_model_encoder_layers_22_self_attn_q_proj", 1024, 1024), "SD 2", False
    ),
    "two text encoders": (
        lora("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768, 768)
        | lora("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280, 1280), "SDXL", False
    ),
    "FLUX.1 with its text encoder": (
        lora("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768, 768)
        | lora("lora_unet_single_blocks_0_linear2", 3072, 15360), "FLUX.1", True
    ),
    "FLUX.1 or Klein 4B": (lora("diffusion_model.double_blocks.0.img_attn.proj", 3072, 3072), "FLUX.1", True),
    "Klein 4B": (lora("diffusion_model.double_blocks.0.img_mlp.0", 18432, 3072), "FLUX.2", True),
    "Klein 4B, single": (lora("diffusion_model.single_blocks.0.linear1", 27648, 3072), "FLUX.2", True),
    "Klein 9B": (lora("diffusion_model.double_blocks.0.txt_attn.qkv", 12288, 4096), "FLUX.2", True),
    "FLUX.2 dev": (lora("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 55296, 6144), "FLUX.2", True),
    "Chroma": (
        lora("lora_unet_distilled_guidance_layer_layers_0_in_layer", 5120, 5120)
        | lora("lora_unet_double_blocks_0_img_mlp_0", 12288, 3072), "Chroma", True
    ),
    "SD 3 medium": (lora("lora_unet_joint_blocks_0_x_block_attn_qkv", 4608, 1536), "SD 3", True),
    "SD 3.5 large, as diffusers names it": (
        lora("transformer.transformer_blocks.0.ff_context.net.2", 2432, 9728), "SD 3", True
    ),
    "Qwen-Image": (lora("transformer_blocks.59.img_mlp.net.2", 3072, 12288), "Qwen-Image", True),
    "Z-Image": (lora("diffusion_model.layers.0.attention.qkv", 11520, 3840), "Z-Image", True),
    "Z-Image, musubi": (lora("lora_unet__layers_0_feed_forward_w2", 3840, 10240), "Z-Image", True),
    "Lumina 2": (lora("lora_unet_layers_0_attention_qkv", 3840, 2304), "Lumina 2", True),
    "Wan": (lora("diffusion_model.blocks.0.self_attn.q", 5120, 5120), "Wan", True),
    "Wan, small": (lora("lora_unet_blocks_0_cross_attn_o", 1536, 1536), "Wan", True),
    "Anima": (lora("diffusion_model.blocks.0.self_attn.output_proj", 2048, 2048), "Anima", True),
    "Stable Cascade": (lora("lora_prior_unet_down_blocks_0_1_x", 8, 8), "Stable Cascade", True),
    "HunyuanVideo": (lora("lora_unet_double_blocks_0_img_mod_linear", 18432, 3072), "HunyuanVideo", True),
    "HunyuanVideo in FLUX.1's names": (
        lora("diffusion_model.double_blocks.19.img_attn.proj", 3072, 3072)
        | lora("diffusion_model.single_blocks.0.linear2", 3072, 15360), "HunyuanVideo", True
    ),
    "HunyuanImage": (lora("lora_unet_double_blocks_0_img_attn_qkv", 10752, 3584), "HunyuanImage 2.1", True),
    "Krea 2": (lora("lora_unet_blocks_0_attn_wq", 6144, 6144), "Krea 2", True),
    "Ideogram 4": (lora("diffusion_model.layers.0.attention.qkv", 13824, 4608), "Ideogram 4", True),
    "LTX-Video": (lora("diffusion_model.transformer_blocks.0.attn2.to_k", 2048, 2048), "LTX-Video", True),
    "LTX-2": (lora("diffusion_model.transformer_blocks.0.audio_ff.net.2", 2048, 8192), "LTX-2", True),
    "LTX-2, the picture alone": (lora("diffusion_model.transformer_blocks.0.attn1.to_q", 4096, 4096), "LTX-2", True),
    "LTX-Video or Anima": (lora("transformer.transformer_blocks.0.attn1.to_q", 2048, 2048), None, True),
    "FLUX.3": (lora("diffusion_model.single_blocks.0.q_proj", 3072, 3072), "FLUX.3", True),
    "Qwen-Image 2.1": (
        lora("transformer.transformer_blocks.0.img_mlp.gate_layer", 12288, 4096), "Qwen-Image 2.1", True
    ),
    "HiDream": (lora("lycoris_double_stream_blocks_0_block_attn1_to_q_t", 2560, 2560), "HiDream", True),
    "a model of nobody's": (lora("unet.down_blocks.0.resnets.0.conv1", 64, 64, 3, 3), None, True),
    "text of a width of its own": (lora(f"lora_unet_mid_block_{ATTENTION}_0_attn2_to_k", 64, 96), None, True),
    "two architectures at once": (
        lora(f"lora_unet_mid_block_{ATTENTION}_0_attn2_to_k", 1280, 768)
        | lora("lora_unet_single_blocks_0_linear2", 3072, 15360), None, True
    ),
}  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_names_and_widths_tell(file: str) -> None:
    tensors, name, sure = FILES[file]
    found = base(tensors)
    assert (found and found.name) == name, found
    assert found is None or (found.sure is sure and all(found.evidence)), found


@pytest.mark.parametrize("name", LISTS)
def test_each_architecture_shows_its_own_signs_and_no_others(name: str) -> None:
    adapter, _ = read_names(keys(name))
    own = BASES[model_of(name)]
    for architecture in set(BASES.values()):
        tiers = [[signature for signature in tier if signature.architecture == architecture] for tier in TIERS]
        if architecture != own:
            assert architecture_of_adapter(adapter, tiers[:1]) is None, f"shows a signature of {architecture}"
        elif name not in ALIKE:
            assert architecture_of_adapter(adapter, tiers) is not None, f"shows no signature of {own}"


@pytest.mark.parametrize("name", [name for name, held in published.LISTS.items() if held.get("base")])
def test_each_published_list_shows_the_signs_of_its_architecture_and_no_others(name: str) -> None:
    adapter, _ = read_names(published.tensors(name))
    own = published.LISTS[name]["base"]
    for architecture in {*BASES.values(), *MORE_BASES.values()} - {own}:
        proofs = [[signature for signature in TIERS[0] if signature.architecture == architecture]]
        assert architecture_of_adapter(adapter, proofs) is None, f"shows a signature of {architecture}"


def test_metadata_speaks_where_the_layers_are_silent_and_is_not_believed_against_them() -> None:
    silent = lora("unet.down_blocks.0.resnets.0.conv1", 320, 320, 3, 3)
    for key, text, name in (
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora", "SDXL"),
        ("modelspec.architecture", "Flux-1-dev/lora", "FLUX.1"),
        ("ss_base_model_version", "sd_v2_v_768_v", "SD 2"),
        ("ss_base_model_version", "anything", None),
    ):
        found = base(silent, {key: text})
        assert (found and found.name) == name
    unsure = lora(f"lora_unet_down_blocks_0_{ATTENTION}_0_attn1_to_q", 320, 320)
    found = base(unsure, {"ss_base_model_version": "sd_v2"})
    assert found is not None
    assert found.name == "SD 2"
    lying = {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.prediction_type": "v"}
    clear = lora(f"lora_unet_mid_block_{ATTENTION}_0_attn2_to_k", 1280, 768)
    found = base(clear, lying)
    assert found is not None
    assert found.name == "SD 1"
    warnings = list(disagreements(found, lying, Architecture("FLUX.1", ())))
    assert [word for word in ("SDXL", "FLUX.1", "predicts v") if not any(word in text for text in warnings)] == []
    assert not list(disagreements(Architecture("SD 1", (), sure=False), {}, Architecture("FLUX.1", ())))
    # Nothing is known of what a model of nobody's predicts, and FLUX.1 predicts but one thing.
    of_v = {"modelspec.prediction_type": "v"}
    assert not list(disagreements(None, of_v, None))
    assert not list(disagreements(Architecture("SD 1", (), sure=False), of_v, None))
    assert not list(disagreements(Architecture("FLUX.1", ()), of_v, Architecture("FLUX.1", ())))


def test_a_guess_that_the_model_at_hand_gives_the_lie_is_not_told() -> None:
    file = lora("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 64, 64)
    weight = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    nobodys = {"unet": {weight: (64, 64)}}
    assert inspect(file).base == Architecture("SD 1", ANY, sure=False)
    assert inspect(file, nobodys).resolved == 1
    assert inspect(file, nobodys).base is None
    of_sd = {"unet": {weight: (64, 64), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": (64, 768)}}
    assert inspect(file, of_sd).base == Architecture("SD 1", ANY, sure=False)
    assert inspect(file, {"unet": {"conv_in.weight": (64, 4, 3, 3)}}).base == Architecture("SD 1", ANY, sure=False)


@pytest.mark.slow
def test_what_chroma_has_of_flux_is_whosever_the_model_or_the_metadata_say() -> None:
    file = lora("lora_unet_double_blocks_0_img_attn_qkv", 9216, 3072) | lora(
        "lora_unet_single_blocks_0_linear2", 3072, 15360
    )
    for model, name in (("chroma", "Chroma"), ("flux1", "FLUX.1")):
        verdict = inspect(file, index(model))
        assert verdict.base == Architecture(name, ANY)
        assert not [warning for warning in verdict.warnings if "trained for" in warning]
    assert base(file) == Architecture("FLUX.1", ANY)
    claimed = base(file, {"modelspec.architecture": "chroma/lora"})
    assert claimed == Architecture("Chroma", ANY)
    assert list(disagreements(claimed, {}, Architecture("FLUX.1", ())))
    assert not inspect(file | {"__metadata__": {"modelspec.architecture": "chroma"}}, index("chroma")).warnings[1:]


@pytest.mark.slow
def test_joint_attention_alone_is_not_held_against_flux() -> None:
    file = lora("transformer.transformer_blocks.0.attn.add_q_proj", 3072, 3072)
    assert inspect(file, index("qwen-image")).base == Architecture("Qwen-Image", ANY, sure=False)
    on_flux = inspect(file, index("flux1"))
    assert (on_flux.resolved, on_flux.base) == (1, None)
    assert not [warning for warning in on_flux.warnings if "trained for" in warning]
