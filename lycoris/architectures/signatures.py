"""What gives an architecture away: names of layers and the widths that go with them. Data only.

Patterns are searched in `<component>.<path with underscores>`; a component is only there where the name said one.
Tiers are asked in order: the first in which exactly one architecture shows is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """One sign of one architecture, shown by any layer that the pattern and the numbers given fit."""

    base: str
    pattern: str
    says: str
    inputs: tuple[int, ...] = ()  # columns of the weight; any, if none is named
    outputs: tuple[int, ...] = ()  # its rows
    ratio: int | None = None  # rows for each column
    axes: int | None = None  # of the weight: 4 is a convolution
    unless: str = ""  # not a sign if any layer of the file has this in its name


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

PROOFS = (
    Sign(SD_1, _TEXT, "attends to text of width 768", inputs=(768,)),
    Sign(SD_2, _TEXT, "attends to text of width 1024", inputs=(1024,)),
    Sign(SDXL, _TEXT, "attends to text of width 2048", inputs=(2048,)),
    Sign(REFINER, _TEXT, "attends to text of width 1280", inputs=(1280,)),
    Sign(CHROMA, "distilled_guidance_layer", "only Chroma has a network that makes its modulation"),
    Sign(FLUX_2, r"stream_modulation(?:_img|_txt)?_lin", "one modulation for all blocks"),
    Sign(FLUX_2, "to_qkv_mlp_proj", "one layer for q, k, v and the gated MLP"),
    Sign(FLUX_2, rf"{_JOINT}ff(?:_context)?_linear_(?:in|out)$", "a gated MLP in two layers"),
    Sign(FLUX_2, rf"{_DOUBLE}mlp_0$", "a gated MLP: six rows for each column", ratio=6),
    Sign(FLUX_2, rf"{_SINGLE}linear1$", "q, k, v and a gated MLP: nine rows for each column", ratio=9),
    Sign(FLUX_2, rf"{_DOUBLE}(?:attn_|mlp_0)", "its width", inputs=_WIDE),
    Sign(FLUX_2, rf"{_SINGLE}linear2$", "its width", outputs=_WIDE),
    Sign(FLUX_1, rf"{_DOUBLE}mod_lin", "modulation in every double block", inputs=(3072,), unless=_NOT_FLUX_1),
    Sign(FLUX_1, rf"{_DOUBLE}mlp_0$", "width 3072, four rows for each column", (3072,), ratio=4, unless=_NOT_FLUX_1),
    Sign(FLUX_1, rf"{_DOUBLE}mlp_2$", "3072 from 12288", (12288,), (3072,), unless=_NOT_FLUX_1),
    Sign(FLUX_1, rf"{_SINGLE}linear1$", "q, k, v and the MLP, 7 × 3072", (3072,), (21504,), unless=_NOT_FLUX_1),
    Sign(FLUX_1, rf"{_SINGLE}linear2$", "3072 from 5 × 3072", (15360,), (3072,), unless=_NOT_FLUX_1),
    Sign(FLUX_1, rf"{_SINGLE}modulation_lin$", "modulation in every single block", (3072,), unless=_NOT_FLUX_1),
    Sign(
        FLUX_1,
        r"single_transformer_blocks_\d+_(?:proj_mlp|proj_out|norm_linear)$",
        "the single blocks of diffusers",
        outputs=(3072, 9216, 12288),
        unless=_NOT_FLUX_1,
    ),
    Sign(SD_3, rf"{_START}joint_blocks_\d+_(?:x|context)_block", "joint blocks"),
    Sign(FLUX_3, _FLUX_3, "blocks for each mode, and its own letters in them"),
    Sign(HUNYUAN_VIDEO, _REFINER, "a refiner of the prompt, of width 3072", inputs=(3072, 12288)),
    Sign(HUNYUAN_VIDEO, _TENCENT, "Tencent's names, of width 3072", inputs=(3072, 12288)),
    Sign(HUNYUAN_VIDEO, _BEYOND_FLUX_1, "more blocks of width 3072 than FLUX.1 has", inputs=(3072, 12288, 15360)),
    Sign(HUNYUAN_IMAGE, _REFINER, "a refiner of the prompt, of width 3584", inputs=(3584, 14336)),
    Sign(HUNYUAN_IMAGE, rf"{_DOUBLE}(?:attn_|mlp_|mod_)", "its width", inputs=(3584, 14336)),
    Sign(HUNYUAN_IMAGE, rf"{_SINGLE}(?:linear|modulation)", "its width", inputs=(3584, 17920)),
    Sign(HUNYUAN_IMAGE, r"single_transformer_blocks_\d+_proj_", "its width", inputs=(3584, 17920)),
    Sign(HIDREAM, r"(?:double|single)_stream_blocks_\d+_block_", "stream blocks, each with a block in it"),
    Sign(KREA_2, r"txtfusion_|text_fusion_", "a network that joins the layers of a language model"),
    Sign(KREA_2, rf"{_START}blocks_\d+_(?:attn_(?:w[qkvo]|gate)|mlp_(?:gate|up|down))$", "Krea's letters for q, k, v"),
    Sign(KREA_2, rf"{_JOINT}(?:attn_to_gate|ff_(?:gate|up|down))$", "gated attention and a gated MLP"),
    Sign(QWEN, rf"{_JOINT}(?:img|txt)_(?:mod_1|mlp_net)", "modulation and MLPs named by stream"),
    Sign(QWEN_2_1, rf"{_JOINT}img_mlp_(?:gate_layer|gate_up|proj|out)$", "a gated MLP of one stream"),
    Sign(LTX, rf"{_START}(?:adaln_single|time_embed)_linear$", "one modulation for all blocks", inputs=(2048,)),
    Sign(LTX, rf"{_START}(?:patchify_proj|caption_projection_linear_2)$", "its way in", outputs=(2048,)),
    Sign(LTX_2, r"audio_(?:attn|ff|to_video)|video_to_audio|_ca_(?:video|audio)|av_c", "layers for sound"),
    Sign(IDEOGRAM_4, rf"{_START}layers_\d+_(?:attention|feed_forward)", "its width", inputs=(4608,)),
    Sign(IDEOGRAM_4, rf"{_START}layers_\d+_(?:feed_forward_w2|adaln_modulation)$", "its width", outputs=(4608, 18432)),
    Sign(Z_IMAGE, rf"{_LUMINA}(?:attention|feed_forward|adaLN)", "its width", inputs=(3840,)),
    Sign(Z_IMAGE, rf"{_LUMINA}feed_forward_w2$", "the width of its feed-forward", inputs=(10240,), outputs=(3840,)),
    Sign(LUMINA, rf"{_LUMINA}(?:attention|attn|feed_forward)", "its width", inputs=(2304,)),
    Sign(LUMINA, rf"{_LUMINA}feed_forward_(?:w|linear_)2$", "its width", outputs=(2304,)),
    Sign(WAN, rf"{_START}_?blocks_\d+_(?:self|cross)_attn_(?:[qkvo]|[kv]_img)$", "Wan's letters for q, k, v and o"),
    Sign(WAN, rf"{_START}blocks_\d+_(?:attn[12]_to_|ffn_net_)", "blocks with two attentions, as diffusers names Wan's"),
    Sign(WAN, rf"{_START}_?blocks_\d+_ffn_[02]$", "Wan's feed-forward"),
    Sign(
        ANIMA, rf"{_START}(?:net_)?blocks_\d+_(?:(?:self|cross)_attn_(?:[qkv]|output)_proj|adaln_)", "Cosmos' own names"
    ),
    Sign(ANIMA, rf"{_JOINT}norm[123]_linear_[12]$", "modulation of low rank, as diffusers names Cosmos'"),
    Sign(ANIMA, r"llm_adapter_", "a network that reads the language model"),
    Sign(CASCADE, r"^prior\.", "a prior"),
)
HINTS = (
    Sign(FLUX_1, rf"{_DOUBLE}attn_", "double blocks of width 3072", (3072,), unless=_NOT_FLUX_1),
    Sign(FLUX_1, rf"{_SINGLE}", "single blocks of width 3072", (3072,), unless=_NOT_FLUX_1),
    Sign(FLUX_1, r"single_transformer_blocks_\d+_attn_to_[qkv]$", "single blocks as wide", (3072,), unless=_NOT_FLUX_1),
    Sign(
        SD_3,
        rf"{_JOINT}(?:attn2?_|ff_)",
        "joint attention of its width, and no single blocks",
        inputs=(1536, 2432, 6144, 9728),
        unless="single_transformer_blocks|single_blocks|double_blocks|(?:img|txt)_mod",
    ),
    Sign(LTX, rf"{_JOINT}attn2_to_[kv]$", "attends to text of width 2048", inputs=(2048,)),
    Sign(ANIMA, rf"{_JOINT}attn2_to_[kv]$", "attends to text of width 1024", inputs=(1024,)),
    Sign(LTX_2, rf"{_JOINT}(?:attn[12]_to_|ff_net_)", "two attentions of its width", inputs=(4096, 16384)),
    Sign(SDXL, rf"{_UNET}.*transformer_blocks_(?:[4-9]|\d\d)_", "more than four transformer blocks in a row"),
    Sign(SDXL, r"label_emb_|add_embedding_", "an embedding of sizes beside the time's", inputs=(2816,)),
    Sign(REFINER, r"label_emb_|add_embedding_", "an embedding of sizes beside the time's", inputs=(2560,)),
    Sign(REFINER, rf"{_UNET}.*attn1_to_", "the refiner's widths", inputs=(384, 768, 1536), outputs=(384, 768, 1536)),
    Sign(
        SD_1,
        _LEVEL_1,
        "attention at the first level, projected by convolutions",
        inputs=(320,),
        axes=4,
    ),
    Sign(
        SD_2,
        _LEVEL_1,
        "attention at the first level, projected by linear layers",
        inputs=(320,),
        axes=2,
    ),
)
GUESSES = (
    Sign(
        QWEN,
        rf"{_JOINT}attn_(?:to_|add_)",
        "joint attention of width 3072, and no single blocks: FLUX.1 has them",
        inputs=(3072,),
        unless="single_transformer_blocks|single_blocks|double_blocks|ff_context|ff_net|norm1_",
    ),
    Sign(SDXL, rf"{_UNET}.*transformer_blocks_[123]_", "more than one transformer block in a row"),
    Sign(SDXL, r"^text_encoder_2\..*encoder_layers_\d+_", "a second text encoder of width 1280", inputs=(1280,)),
    Sign(
        SD_1, r"^text_encoder\..*encoder_layers_\d+_", "a text encoder of width 768, alone", (768,), unless="_encoder_2"
    ),
    Sign(SD_2, r"^text_encoder\..*encoder_layers_\d+_", "a text encoder of width 1024", (1024,), unless="_encoder_2"),
)
LAST = (
    Sign(
        SD_1,
        r"down_blocks_0_attentions_|down_blocks_3_|up_blocks_3_|input_blocks_(?:1_1|2_1|9_|10_|11_)",
        "four levels, attention at the first: SD 1 or SD 2",
    ),
)
TIERS: tuple[tuple[Sign, ...], ...] = (PROOFS, HINTS, GUESSES, LAST)
SURE = frozenset(PROOFS + HINTS)

KIN: Mapping[str, str] = {CHROMA: FLUX_1}  # has a part of the other's layers, and none that adapters change beside it
PREDICTIONS = frozenset({SD_1, SD_2, SDXL})  # of which some models predict the noise and some v, which no shape shows

ARCHITECTURES: Mapping[str, str] = {  # how modelspec.architecture and ss_base_model_version begin -> architecture
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
