"""The table of all families that the suite serves."""

from itertools import chain

from tests.families import (
    aura_flow,
    cogview,
    flux,
    flux2,
    hidream,
    hunyuan,
    lumina,
    pixart,
    qwen_image,
    sana,
    stable_diffusion,
    stable_diffusion_3,
    z_image,
)
from tests.families.family import Family

FILES = (
    stable_diffusion,
    stable_diffusion_3,
    flux,
    flux2,
    qwen_image,
    z_image,
    hidream,
    lumina,
    sana,
    pixart,
    aura_flow,
    hunyuan,
    cogview,
)
FAMILIES: dict[str, Family] = {one.name: one for one in chain.from_iterable(file.FAMILIES for file in FILES)}
