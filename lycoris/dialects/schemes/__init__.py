"""The table of native names: what a transformer's first authors call its layers, and what diffusers made of them.

Data only, a file for each family. Sources: the authors' checkpoints as diffusers converts them
(`loaders/single_file_utils.py`, `loaders/lora_conversion_utils.py`, `scripts/convert_hunyuan_image_to_diffusers.py`),
ComfyUI's and OneTrainer's lists of names; of all of them only the names are taken.
"""

from lycoris.dialects.schemes.cascade import CASCADE
from lycoris.dialects.schemes.cosmos import COSMOS
from lycoris.dialects.schemes.flux import FLUX_1, FLUX_2, FLUX_3
from lycoris.dialects.schemes.hunyuan import HUNYUAN
from lycoris.dialects.schemes.krea import KREA_2
from lycoris.dialects.schemes.ltx import LTX
from lycoris.dialects.schemes.lumina import IDEOGRAM_4, LUMINA_2, Z_IMAGE
from lycoris.dialects.schemes.qwen import QWEN_2_1
from lycoris.dialects.schemes.scheme import Scheme
from lycoris.dialects.schemes.sd3 import SD_3
from lycoris.dialects.schemes.wan import WAN

SCHEMES: tuple[Scheme, ...] = (
    *(FLUX_1, FLUX_2, FLUX_3, SD_3, Z_IMAGE, LUMINA_2, IDEOGRAM_4, QWEN_2_1, KREA_2, HUNYUAN, LTX, WAN, COSMOS),
    CASCADE,
)
