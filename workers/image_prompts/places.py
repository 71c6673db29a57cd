"""Where a base reads image prompts: its layers of attention to a text, in the order in which files number them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PARTS = ("down_blocks", "up_blocks", "mid_block")  # of a UNet, in the order in which diffusers finds their attention
UNET = re.compile(r"(.+\.attn2)\.to_k\.weight")
FLUX = re.compile(r"(transformer_blocks\.\d+\.attn)\.add_k_proj\.weight")


@dataclass(frozen=True)
class Place:
    """A layer of attention: its path, its number in files, what it makes of a token and how wide that is."""

    path: str
    number: int
    hidden: int
    width: int
    biased: bool

    @property
    def expected(self) -> dict[str, tuple[int, ...]]:
        """The tensors that a file has to have for it, without `ip_adapter.`, and their shapes."""
        found: dict[str, tuple[int, ...]] = {}
        for one in "kv":
            found[f"{self.number}.to_{one}_ip.weight"] = (self.hidden, self.width)
            if self.biased:
                found[f"{self.number}.to_{one}_ip.bias"] = (self.hidden,)
        return found


def places_of(shapes: Mapping[str, Mapping[str, Sequence[int]]]) -> tuple[str, list[Place]]:
    """Return the component that denoises, and its places; none where it has neither a UNet's nor FLUX's attention."""
    if unet := shapes.get("unet"):
        paths = sorted((found[1] for name in unet if (found := UNET.fullmatch(name))), key=_order)
        # A file numbers every layer of attention, of which each second one is to the text
        numbered = enumerate(paths)
        return "unet", [_place(path, 2 * at + 1, unet[f"{path}.to_k.weight"], False) for at, path in numbered]
    transformer = shapes.get("transformer", {})
    text = transformer.get("context_embedder.weight")
    paths = sorted((found[1] for name in transformer if (found := FLUX.fullmatch(name))), key=_order)
    return "transformer", [_place(path, at, text, True) for at, path in enumerate(paths)] if text else []


def _place(path: str, number: int, shape: Sequence[int], biased: bool) -> Place:
    hidden, width = shape
    return Place(path, number, hidden, width, biased)


def _order(path: str) -> tuple[int, list[int]]:
    first = path.split(".")[0]
    return PARTS.index(first) if first in PARTS else 0, [int(number) for number in re.findall(r"\d+", path)]
