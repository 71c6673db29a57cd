"""A region of the picture in which an adapter's change is added: a mask, scaled as the network scales its features.

Which layers have positions is read off their names: `positions` knows the UNets and FLUX's transformer of diffusers.
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris.errors import Code, Reason, StackRefused

Positions = Literal["picture", "text and picture", "none"]
# Of a UNet, the layers whose outputs are not laid out as the picture: times, conditions, keys and values of the text
_PLACELESS = re.compile(
    r"(?:.+\.)?(?:time_embedding|time_emb_proj|add_embedding|class_embedding|encoder_hid_proj|time_embed|emb_layers)"
    r"(?:\..+)?|.+\.attn2\.(?:to|add)_[kv](?:_proj)?"
)
_FLUX_PICTURE = re.compile(r"x_embedder|proj_out|transformer_blocks\.\d+\.(?:attn\.(?:to_[qkv]|to_out\.0)|ff\..+)")
_FLUX_BOTH = re.compile(r"single_transformer_blocks\.\d+\.(?:attn\.to_[qkv]|proj_mlp|proj_out)")
CONVOLVED = 3  # axes of the weight of a convolution, at least


def positions(component: str, path: str) -> Positions:
    """Return what the outputs of a layer are laid out as; "none" for one number a feature, or a text."""
    if component == "unet":
        return "none" if _PLACELESS.fullmatch(path) else "picture"
    if component == "transformer":
        if _FLUX_PICTURE.fullmatch(path):
            return "picture"
        return "text and picture" if _FLUX_BOTH.fullmatch(path) else "none"
    return "none"


class Region:
    """A mask in [0, 1], (rows, columns) of the latents, and the same for every grid that the network halves it to.

    key: equal for equal masks. everywhere: whether layers without positions, and words, are changed as without a mask.
    A halving rounds up, as the network's own does, and takes the mean of what it puts together.
    """

    def __init__(self, key: str, mask: Tensor, everywhere: bool = False) -> None:
        self.key = f"{key}{everywhere}"
        self.everywhere = everywhere
        self._levels = {tuple(level.shape): level for level in _halved(mask.float())}
        self._cast: dict[tuple[object, ...], Tensor] = {}

    def of_convolution(self, y: Tensor, name: str) -> Tensor:
        """Return the mask for (batch, channels, rows, columns); raises StackRefused where it has another grid."""
        level = self._levels.get(tuple(y.shape[-2:]))
        if level is None:
            raise self._elsewhere(name, tuple(y.shape[-2:]))
        return self._like(y, ("rows", *level.shape), lambda: level)

    def of_tokens(self, y: Tensor, name: str, both: bool = False) -> Tensor:
        """Return the mask for (batch, tokens, features), (1, tokens, 1); both: words come before the picture.

        Raises StackRefused where there is no grid of so many tokens.
        """
        tokens = y.shape[-2]
        return self._like(y, ("both" if both else "tokens", tokens), lambda: self._tokens(tokens, name, both))

    def _tokens(self, tokens: int, name: str, both: bool) -> Tensor:
        sizes = [level for level in self._levels.values() if level.numel() == tokens]
        if not both and sizes:
            return sizes[0].reshape(1, -1, 1)
        if both and len(self._levels) > 1:
            picture = list(self._levels.values())[1].flatten()  # FLUX's tokens are two latents wide and high
            if tokens >= len(picture):
                words = torch.full((tokens - len(picture),), float(self.everywhere))
                return torch.cat([words, picture]).view(1, -1, 1)
        raise self._elsewhere(name, (tokens,))

    def _like(self, y: Tensor, which: tuple[object, ...], mask: Callable[[], Tensor]) -> Tensor:
        """Return a mask of y's device and dtype, made when it is asked for first: layers ask at every step."""
        key = (*which, y.device, y.dtype)
        if key not in self._cast:
            with torch.inference_mode(False):  # cached tensors must work inside and outside inference mode
                self._cast[key] = mask().to(y.device, y.dtype)
        return self._cast[key]

    def _elsewhere(self, name: str, found: tuple[int, ...]) -> StackRefused:
        sizes = ", ".join("×".join(map(str, size)) for size in self._levels)
        message = f"computes with {'×'.join(map(str, found))} positions, and a mask of this size has {sizes}"
        return StackRefused([Reason(Code.NO_FORM, name, message)])


def _halved(mask: Tensor) -> Iterator[Tensor]:
    yield mask
    while max(mask.shape) > 1:
        pooled = F.avg_pool2d(mask[None, None], 2, stride=2, ceil_mode=True, count_include_pad=False)
        yield (mask := pooled[0, 0])
