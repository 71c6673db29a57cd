"""The table of all families that the suite serves."""

from itertools import chain

from tests.families import stable_diffusion
from tests.families.family import Family

FILES = (stable_diffusion,)
FAMILIES: dict[str, Family] = {one.name: one for one in chain.from_iterable(file.FAMILIES for file in FILES)}
