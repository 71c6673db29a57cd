"""The table of all families that the suite serves."""

from itertools import chain

from tests.families import aura_flow, cogview, hunyuan, pixart, sana, stable_diffusion
from tests.families.family import Family

FILES = (stable_diffusion, sana, pixart, aura_flow, hunyuan, cogview)
FAMILIES: dict[str, Family] = {one.name: one for one in chain.from_iterable(file.FAMILIES for file in FILES)}
