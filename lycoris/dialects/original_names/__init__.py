"""The table of original names: the names that a transformer's authors gave its layers, and diffusers' names for them.

Data only, a file for each family. Sources: the authors' checkpoints as diffusers converts them
(`loaders/single_file_utils.py`, `loaders/lora_conversion_utils.py`, `scripts/convert_hunyuan_image_to_diffusers.py`),
ComfyUI's and OneTrainer's lists of names; only the names are taken from them.
"""

from lycoris.dialects.original_names.cascade import CASCADE
from lycoris.dialects.original_names.cosmos import COSMOS
from lycoris.dialects.original_names.flux import FLUX_1, FLUX_2, FLUX_3
from lycoris.dialects.original_names.hunyuan import HUNYUAN
from lycoris.dialects.original_names.krea import KREA_2
from lycoris.dialects.original_names.ltx import LTX
from lycoris.dialects.original_names.lumina import IDEOGRAM_4, LUMINA_2, Z_IMAGE
from lycoris.dialects.original_names.qwen import QWEN_2_1
from lycoris.dialects.original_names.scheme import Scheme
from lycoris.dialects.original_names.sd3 import SD_3
from lycoris.dialects.original_names.wan import WAN

SCHEMES: tuple[Scheme, ...] = (
    *(FLUX_1, FLUX_2, FLUX_3, SD_3, Z_IMAGE, LUMINA_2, IDEOGRAM_4, QWEN_2_1, KREA_2, HUNYUAN, LTX, WAN, COSMOS),
    CASCADE,
)
