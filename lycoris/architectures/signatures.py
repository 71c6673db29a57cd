"""Signatures of architectures: names of layers and the widths that go with them. Data only.

Patterns are searched in `<component>.<path with underscores>`; the component is there only where the name has one.
Tiers are tried in order: the first tier in which a single architecture matches decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """One signature of one architecture: any layer that fits the pattern and the given sizes matches it."""

    architecture: str
    pattern: str
    evidence: str
    inputs: tuple[int, ...] = ()  # columns of the weight; any, if none is named
    outputs: tuple[int, ...] = ()  # its rows
    ratio: int | None = None  # rows for each column
    axes: int | None = None  # of the weight: 4 is a convolution
    unless: str = ""  # does not match if any layer of the file has this in its name


SD_1, SD_2, SDXL, REFINER = "SD 1", "SD 2", "SDXL", "SDXL refiner"
FLUX_1, CHROMA, FLUX_2, SD_3, QWEN = "FLUX.1", "Chroma", "FLUX.2", "SD 3", "Qwen-Image"
Z_IMAGE, LUMINA, WAN, ANIMA, CASCADE = "Z-Image", "Lumina 2", "Wan", "Anima", "Stable Cascade"
FLUX_3, QWEN_2_1, KREA_2, IDEOGRAM_4 = "FLUX.3", "Qwen-Image 2.1", "Krea 2", "Ideogram 4"
HIDREAM, LTX, LTX_2 = "HiDream", "LTX-Video", "LTX-2"
HUNYUAN_VIDEO, HUNYUAN_IMAGE = "HunyuanVideo", "HunyuanImage 2.1"

_UNET = r"(?:down|up|mid|input|output|middle)_blocks?_"
_START = r"(?:^|\.)"
_TEXT = rf"{_UNET}.*attn2_to_[kv]$"
_DOUBLE = rf"{_START}double_blocks_\d+_(?:img|txt)_"
_SINGLE = rf"{_START}single_blocks_\d+_"
_JOINT = rf"{_START}transformer_blocks_\d+_"
_LUMINA = rf"{_START}(?:layers|noise_refiner|context_refiner)_\d+_"
_LEVEL_1 = (
    r"(?:down_blocks_0_attentions|input_blocks_[12]_1|up_blocks_3|output_blocks_(?:9|10|11)_1)_.*proj_(?:in|out)$"
)
_REFINER = r"(?:individual_token_refiner_blocks|token_refiner_refiner_blocks)_\d+_"
_TENCENT = rf"{_DOUBLE}(?:mlp_fc[012]|mod_linear)$|{_SINGLE}modulation_linear$"
_BEYOND_FLUX_1 = (
    rf"{_START}(?:double_blocks_19|single_(?:transformer_)?blocks_3[89]|transformer_blocks_19_(?:ff|norm1))_"
)
_FLUX_3 = (
    r"mode_blocks_|early_stream_modulations"
    rf"|{_SINGLE}(?:[qkv]_proj|attn_out|mlp_(?:in|out))$|single_transformer_blocks_\d+_ff_linear_"
)
_NOT_FLUX_1 = (
    rf"distilled_guidance_layer|stream_modulation|to_qkv_mlp_proj|linear_in$|{_REFINER}|{_TENCENT}|{_BEYOND_FLUX_1}"
    rf"|{_FLUX_3}"
)
_WIDE = (6144, 4096)  # FLUX.2 dev and Klein 9B; Klein 4B is as wide as FLUX.1

DECISIVE = (
    Signature(SD_1, _TEXT, "attends to text of width 768", inputs=(768,)),
    Signature(SD_2, _TEXT, "attends to text of width 1024", inputs=(1024,)),
    Signature(SDXL, _TEXT, "attends to text of width 2048", inputs=(2048,)),
    Signature(REFINER, _TEXT, "attends to text of width 1280", inputs=(1280,)),
    Signature(CHROMA, "distilled_guidance_layer", "only Chroma has a network that makes its modulation"),
    Signature(FLUX_2, r"stream_modulation(?:_img|_txt)?_lin", "one modulation for all blocks"),
    Signature(FLUX_2, "to_qkv_mlp_proj", "one layer for q, k, v and the gated MLP"),
    Signature(FLUX_2, rf"{_JOINT}ff(?:_context)?_linear_(?:in|out)$", "a gated MLP in two layers"),
    Signature(FLUX_2, rf"{_DOUBLE}mlp_0$", "a gated MLP: six rows for each column", ratio=6),
    Signature(FLUX_2, rf"{_SINGLE}linear1$", "q, k, v and a gated MLP: nine rows for each column", ratio=9),
    Signature(FLUX_2, rf"{_DOUBLE}(?:attn_|mlp_0)", "its width", inputs=_WIDE),
    Signature(FLUX_2, rf"{_SINGLE}linear2$", "its width", outputs=_WIDE),
    Signature(FLUX_1, rf"{_DOUBLE}mod_lin", "modulation in every double block", inputs=(3072,), unless=_NOT_FLUX_1),
    Signature(
        FLUX_1, rf"{_DOUBLE}mlp_0$", "width 3072, four rows for each column", (3072,), ratio=4, unless=_NOT_FLUX_1
    ),
    Signature(FLUX_1, rf"{_DOUBLE}mlp_2$", "3072 from 12288", (12288,), (3072,), unless=_NOT_FLUX_1),
    Signature(FLUX_1, rf"{_SINGLE}linear1$", "q, k, v and the MLP, 7 × 3072", (3072,), (21504,), unless=_NOT_FLUX_1),
    Signature(FLUX_1, rf"{_SINGLE}linear2$", "3072 from 5 × 3072", (15360,), (3072,), unless=_NOT_FLUX_1),
    Signature(FLUX_1, rf"{_SINGLE}modulation_lin$", "modulation in every single block", (3072,), unless=_NOT_FLUX_1),
    Signature(
        FLUX_1,
        r"single_transformer_blocks_\d+_(?:proj_mlp|proj_out|norm_linear)$",
        "the single blocks of diffusers",
        outputs=(3072, 9216, 12288),
        unless=_NOT_FLUX_1,
    ),
    Signature(SD_3, rf"{_START}joint_blocks_\d+_(?:x|context)_block", "joint blocks"),
    Signature(FLUX_3, _FLUX_3, "blocks for each mode, and its own letters in them"),
    Signature(HUNYUAN_VIDEO, _REFINER, "a refiner of the prompt, of width 3072", inputs=(3072, 12288)),
    Signature(HUNYUAN_VIDEO, _TENCENT, "Tencent's names, of width 3072", inputs=(3072, 12288)),
    Signature(HUNYUAN_VIDEO, _BEYOND_FLUX_1, "more blocks of width 3072 than FLUX.1 has", inputs=(3072, 12288, 15360)),
    Signature(HUNYUAN_IMAGE, _REFINER, "a refiner of the prompt, of width 3584", inputs=(3584, 14336)),
    Signature(HUNYUAN_IMAGE, rf"{_DOUBLE}(?:attn_|mlp_|mod_)", "its width", inputs=(3584, 14336)),
    Signature(HUNYUAN_IMAGE, rf"{_SINGLE}(?:linear|modulation)", "its width", inputs=(3584, 17920)),
    Signature(HUNYUAN_IMAGE, r"single_transformer_blocks_\d+_proj_", "its width", inputs=(3584, 17920)),
    Signature(HIDREAM, r"(?:double|single)_stream_blocks_\d+_block_", "stream blocks, each with a block in it"),
    Signature(KREA_2, r"txtfusion_|text_fusion_", "a network that joins the layers of a language model"),
    Signature(
        KREA_2, rf"{_START}blocks_\d+_(?:attn_(?:w[qkvo]|gate)|mlp_(?:gate|up|down))$", "Krea's letters for q, k, v"
    ),
    Signature(KREA_2, rf"{_JOINT}(?:attn_to_gate|ff_(?:gate|up|down))$", "gated attention and a gated MLP"),
    Signature(QWEN, rf"{_JOINT}(?:img|txt)_(?:mod_1|mlp_net)", "modulation and MLPs named by stream"),
    Signature(QWEN_2_1, rf"{_JOINT}img_mlp_(?:gate_layer|gate_up|proj|out)$", "a gated MLP of one stream"),
    Signature(LTX, rf"{_START}(?:adaln_single|time_embed)_linear$", "one modulation for all blocks", inputs=(2048,)),
    Signature(LTX, rf"{_START}(?:patchify_proj|caption_projection_linear_2)$", "its way in", outputs=(2048,)),
    Signature(LTX_2, r"audio_(?:attn|ff|to_video)|video_to_audio|_ca_(?:video|audio)|av_c", "layers for sound"),
    Signature(IDEOGRAM_4, rf"{_START}layers_\d+_(?:attention|feed_forward)", "its width", inputs=(4608,)),
    Signature(
        IDEOGRAM_4, rf"{_START}layers_\d+_(?:feed_forward_w2|adaln_modulation)$", "its width", outputs=(4608, 18432)
    ),
    Signature(Z_IMAGE, rf"{_LUMINA}(?:attention|feed_forward|adaLN)", "its width", inputs=(3840,)),
    Signature(
        Z_IMAGE, rf"{_LUMINA}feed_forward_w2$", "the width of its feed-forward", inputs=(10240,), outputs=(3840,)
    ),
    Signature(LUMINA, rf"{_LUMINA}(?:attention|attn|feed_forward)", "its width", inputs=(2304,)),
    Signature(LUMINA, rf"{_LUMINA}feed_forward_(?:w|linear_)2$", "its width", outputs=(2304,)),
    Signature(
        WAN, rf"{_START}_?blocks_\d+_(?:self|cross)_attn_(?:[qkvo]|[kv]_img)$", "Wan's letters for q, k, v and o"
    ),
    Signature(
        WAN, rf"{_START}blocks_\d+_(?:attn[12]_to_|ffn_net_)", "blocks with two attentions, as diffusers names Wan's"
    ),
    Signature(WAN, rf"{_START}_?blocks_\d+_ffn_[02]$", "Wan's feed-forward"),
    Signature(
        ANIMA, rf"{_START}(?:net_)?blocks_\d+_(?:(?:self|cross)_attn_(?:[qkv]|output)_proj|adaln_)", "Cosmos' own names"
    ),
    Signature(ANIMA, rf"{_JOINT}norm[123]_linear_[12]$", "modulation of low rank, as diffusers names Cosmos'"),
    Signature(ANIMA, r"llm_adapter_", "a network that reads the language model"),
    Signature(CASCADE, r"^prior\.", "a prior"),
)
STRONG = (
    Signature(FLUX_1, rf"{_DOUBLE}attn_", "double blocks of width 3072", (3072,), unless=_NOT_FLUX_1),
    Signature(FLUX_1, rf"{_SINGLE}", "single blocks of width 3072", (3072,), unless=_NOT_FLUX_1),
    Signature(
        FLUX_1, r"single_transformer_blocks_\d+_attn_to_[qkv]$", "single blocks as wide", (3072,), unless=_NOT_FLUX_1
    ),
    Signature(
        SD_3,
        rf"{_JOINT}(?:attn2?_|ff_)",
        "joint attention of its width, and no single blocks",
        inputs=(1536, 2432, 6144, 9728),
        unless="single_transformer_blocks|single_blocks|double_blocks|(?:img|txt)_mod",
    ),
    Signature(LTX, rf"{_JOINT}attn2_to_[kv]$", "attends to text of width 2048", inputs=(2048,)),
    Signature(ANIMA, rf"{_JOINT}attn2_to_[kv]$", "attends to text of width 1024", inputs=(1024,)),
    Signature(LTX_2, rf"{_JOINT}(?:attn[12]_to_|ff_net_)", "two attentions of its width", inputs=(4096, 16384)),
    Signature(SDXL, rf"{_UNET}.*transformer_blocks_(?:[4-9]|\d\d)_", "more than four transformer blocks in a row"),
    Signature(SDXL, r"label_emb_|add_embedding_", "an embedding of sizes beside the time's", inputs=(2816,)),
    Signature(REFINER, r"label_emb_|add_embedding_", "an embedding of sizes beside the time's", inputs=(2560,)),
    Signature(
        REFINER, rf"{_UNET}.*attn1_to_", "the refiner's widths", inputs=(384, 768, 1536), outputs=(384, 768, 1536)
    ),
    Signature(
        SD_1,
        _LEVEL_1,
        "attention at the first level, projected by convolutions",
        inputs=(320,),
        axes=4,
    ),
    Signature(
        SD_2,
        _LEVEL_1,
        "attention at the first level, projected by linear layers",
        inputs=(320,),
        axes=2,
    ),
)
WEAK = (
    Signature(
        QWEN,
        rf"{_JOINT}attn_(?:to_|add_)",
        "joint attention of width 3072, and no single blocks: FLUX.1 has them",
        inputs=(3072,),
        unless="single_transformer_blocks|single_blocks|double_blocks|ff_context|ff_net|norm1_",
    ),
    Signature(SDXL, rf"{_UNET}.*transformer_blocks_[123]_", "more than one transformer block in a row"),
    Signature(SDXL, r"^text_encoder_2\..*encoder_layers_\d+_", "a second text encoder of width 1280", inputs=(1280,)),
    Signature(
        SD_1, r"^text_encoder\..*encoder_layers_\d+_", "a text encoder of width 768, alone", (768,), unless="_encoder_2"
    ),
    Signature(
        SD_2, r"^text_encoder\..*encoder_layers_\d+_", "a text encoder of width 1024", (1024,), unless="_encoder_2"
    ),
)
FALLBACK = (
    Signature(
        SD_1,
        r"down_blocks_0_attentions_|down_blocks_3_|up_blocks_3_|input_blocks_(?:1_1|2_1|9_|10_|11_)",
        "four levels, attention at the first: SD 1 or SD 2",
    ),
)
TIERS: tuple[tuple[Signature, ...], ...] = (DECISIVE, STRONG, WEAK, FALLBACK)
CERTAIN = frozenset(DECISIVE + STRONG)

# Architecture -> the one that has all of its layers, of those that adapters change
SUBSET_OF: Mapping[str, str] = {CHROMA: FLUX_1}
TWO_PREDICTIONS = frozenset({SD_1, SD_2, SDXL})  # some models predict the noise and some v, and no shape shows which

METADATA_NAMES: Mapping[str, str] = {  # start of modelspec.architecture or ss_base_model_version -> architecture
    "stable-diffusion-v1": SD_1,
    "stable-diffusion-v2": SD_2,
    "stable-diffusion-xl-v1-base": SDXL,
    "stable-diffusion-xl-v1-refiner": REFINER,
    "stable-diffusion-3": SD_3,
    "sd_v1": SD_1,
    "sd_v2": SD_2,
    "sdxl": SDXL,
    "sd3": SD_3,
    "flux-1": FLUX_1,
    "flux-2": FLUX_2,
    "flux-3": FLUX_3,
    "flux1": FLUX_1,
    "flux2": FLUX_2,
    "flux3": FLUX_3,
    "chroma": CHROMA,
    "qwen-image-2.1": QWEN_2_1,
    "qwen": QWEN,
    "zimage": Z_IMAGE,
    "z-image": Z_IMAGE,
    "lumina": LUMINA,
    "wan": WAN,
    "anima": ANIMA,
    "stable-cascade": CASCADE,
    "hunyuan-image": HUNYUAN_IMAGE,
    "hunyuan_image": HUNYUAN_IMAGE,
    "hunyuan-video": HUNYUAN_VIDEO,
    "hunyuan_video": HUNYUAN_VIDEO,
    "framepack": HUNYUAN_VIDEO,
    "hidream": HIDREAM,
    "ltx-2": LTX_2,
    "ltx2": LTX_2,
    "ltx": LTX,
    "krea2": KREA_2,
    "krea-2": KREA_2,
    "ideogram": IDEOGRAM_4,
}
