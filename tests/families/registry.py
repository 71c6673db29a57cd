"""The table of all families that the suite serves."""

from itertools import chain

from tests.families import (
    aura_flow,
    cogview,
    cosmos,
    dreamlite,
    ernie,
    flux,
    flux2,
    hidream,
    hunyuan,
    ideogram,
    kandinsky,
    kandinsky5,
    krea,
    longcat,
    lumina,
    pixart,
    qwen_image,
    qwen_image21,
    sana,
    stable_diffusion,
    stable_diffusion_3,
    wan,
    z_image,
    z_image_omni,
)
from tests.families.family import Family

FILES = (
    *(stable_diffusion, stable_diffusion_3, flux, flux2, qwen_image, qwen_image21, z_image, z_image_omni, hidream),
    *(lumina, sana, pixart, aura_flow, hunyuan, cogview, kandinsky, kandinsky5, wan, cosmos, krea, ideogram, ernie),
    *(longcat, dreamlite),
)
FAMILIES: dict[str, Family] = {one.name: one for one in chain.from_iterable(file.FAMILIES for file in FILES)}
