"""The projections of image prompts, from what an image encoder says of a picture to tokens: a row for each kind.

diffusers' classes compute; which tensor of a file is which parameter of them is read off here. Names are those of
IP-Adapter's own files, without `image_proj.`
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers.models.embeddings import ImageProjection, IPAdapterFullImageProjection, IPAdapterPlusImageProjection
from torch import Tensor, nn

from app.shared.wire.model import Reads

Shapes = Mapping[str, tuple[int, ...]]
HEAD = 64  # numbers of a head of attention, in every resampler of IP-Adapter
LAYER = re.compile(r"layers\.(\d+)\.")


class Sizes(NamedTuple):
    """What a projection reads and makes."""

    reads: int  # numbers of an image encoder
    tokens: int  # of each picture
    width: int  # numbers of a token


class Stored(NamedTuple):
    """Where the value of a parameter is in a file: a tensor, or one of equal parts of its rows."""

    name: str
    part: int = 0
    parts: int = 1

    def shape_for(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the whole tensor, for a parameter of this shape."""
        return (shape[0] * self.parts, *shape[1:])

    def value(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the value of the parameter."""
        return tensors[self.name].chunk(self.parts, dim=0)[self.part]


@dataclass(frozen=True)
class Projection:
    """A kind of projection: the tensor that only it has, how it is built by shapes, and what its parameters are called.

    sizes, build: raise KeyError for a tensor that is missing, ValueError for one of another number of axes. renamed:
    pattern over diffusers' names -> name in a file, and which part of the tensor's rows. least: the shapes that `build`
    reads, as small as may be.
    """

    name: str
    told_by: str
    reads: Reads
    sizes: Callable[[Shapes], Sizes]
    build: Callable[[Shapes], nn.Module]
    renamed: tuple[tuple[str, str, int, int], ...]
    least: Shapes

    def names(self, found: Iterable[str]) -> frozenset[str]:
        """Return the tensors that a file has to have, whatever their shapes; found: those that it has."""
        layers = {name: (1,) for name in found if LAYER.match(name)}
        return frozenset(self.expected({**layers, **self.least}))

    def stored(self, parameter: str) -> Stored:
        """Return where a parameter of diffusers' class is in a file."""
        for pattern, name, part, parts in self.renamed:
            if found := re.fullmatch(pattern, parameter):
                return Stored(found.expand(name), part, parts)
        return Stored(parameter)

    def expected(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Return the tensors that a file has to have for a projection of its shapes; raises as `build` does."""
        with torch.device("meta"):
            module = self.build(shapes)
        return {
            stored.name: stored.shape_for(tuple(value.shape))
            for parameter, value in module.state_dict().items()
            if (stored := self.stored(parameter))
        }

    def built(self, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the module with the values of a file that was judged."""
        with torch.device("meta"):
            module = self.build({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        state = {
            parameter: self.stored(parameter).value(tensors).to(device, dtype) for parameter in module.state_dict()
        }
        module.load_state_dict(state, strict=True, assign=True)
        return module.requires_grad_(False).eval()


def _plain_sizes(shapes: Shapes) -> Sizes:
    (rows, reads), (width,) = shapes["proj.weight"], shapes["norm.weight"]
    if rows < width:
        raise ValueError(f"{rows} rows are not one token of {width} numbers")
    return Sizes(reads, rows // width, width)


def _plain(shapes: Shapes) -> nn.Module:
    reads, tokens, width = _plain_sizes(shapes)
    return ImageProjection(image_embed_dim=reads, cross_attention_dim=width, num_image_text_embeds=tokens)


def _full_sizes(shapes: Shapes) -> Sizes:
    (_, reads), (width,) = shapes["proj.0.weight"], shapes["proj.3.weight"]
    return Sizes(reads, 0, width)  # as many tokens as the encoder has


def _full(shapes: Shapes) -> nn.Module:
    reads, _, width = _full_sizes(shapes)
    return IPAdapterFullImageProjection(image_embed_dim=reads, cross_attention_dim=width)


def _plus_sizes(shapes: Shapes) -> Sizes:
    (_, tokens, _), (_, reads), (width, _) = shapes["latents"], shapes["proj_in.weight"], shapes["proj_out.weight"]
    return Sizes(reads, tokens, width)


def _plus(shapes: Shapes) -> nn.Module:
    reads, tokens, width = _plus_sizes(shapes)
    (_, _, hidden), (rows, _), (inner, _) = (
        shapes[name] for name in ("latents", "layers.0.0.to_q.weight", "layers.0.1.1.weight")
    )
    if rows % HEAD or not hidden:
        raise ValueError(f"{rows} rows are no heads of {HEAD}")
    return IPAdapterPlusImageProjection(
        embed_dims=reads,
        output_dims=width,
        hidden_dims=hidden,
        depth=len({found[1] for name in shapes if (found := LAYER.match(name))}),
        dim_head=HEAD,
        heads=rows // HEAD,
        num_queries=tokens,
        ffn_ratio=inner / hidden,
    )


_IN_LAYER = r"layers\.(\d+)\."
PROJECTIONS = (
    Projection(
        "plain",
        "proj.weight",
        "image_embeds",
        _plain_sizes,
        _plain,
        ((r"image_embeds\.(.+)", r"proj.\1", 0, 1),),
        {"proj.weight": (1, 1), "norm.weight": (1,)},
    ),
    Projection(
        "full",
        "proj.3.weight",
        "hidden_states",
        _full_sizes,
        _full,
        (
            (r"ff\.net\.0\.proj\.(.+)", r"proj.0.\1", 0, 1),
            (r"ff\.net\.2\.(.+)", r"proj.2.\1", 0, 1),
            (r"norm\.(.+)", r"proj.3.\1", 0, 1),
        ),
        {"proj.0.weight": (1, 1), "proj.3.weight": (1,)},
    ),
    Projection(
        "plus",
        "latents",
        "hidden_states",
        _plus_sizes,
        _plus,
        (
            (_IN_LAYER + r"ln0\.(.+)", r"layers.\1.0.norm1.\2", 0, 1),
            (_IN_LAYER + r"ln1\.(.+)", r"layers.\1.0.norm2.\2", 0, 1),
            (_IN_LAYER + r"attn\.to_q\.weight", r"layers.\1.0.to_q.weight", 0, 1),
            (_IN_LAYER + r"attn\.to_k\.weight", r"layers.\1.0.to_kv.weight", 0, 2),
            (_IN_LAYER + r"attn\.to_v\.weight", r"layers.\1.0.to_kv.weight", 1, 2),
            (_IN_LAYER + r"attn\.to_out\.0\.weight", r"layers.\1.0.to_out.weight", 0, 1),
            (_IN_LAYER + r"ff\.0\.(.+)", r"layers.\1.1.0.\2", 0, 1),
            (_IN_LAYER + r"ff\.1\.net\.0\.proj\.weight", r"layers.\1.1.1.weight", 0, 1),
            (_IN_LAYER + r"ff\.1\.net\.2\.weight", r"layers.\1.1.3.weight", 0, 1),
        ),
        {
            "latents": (1, 1, 1),
            **dict.fromkeys(("proj_in.weight", "proj_out.weight", "layers.0.1.1.weight"), (1, 1)),
            "layers.0.0.to_q.weight": (HEAD, 1),
        },
    ),
)
# Tensors that tell a projection of what a network for faces says, which nothing here has
OF_FACES = ({"perceiver_resampler.proj_in.weight"}, {"proj.0.weight", "norm.weight"})


def projection_of(names: Mapping[str, object]) -> Projection | None:
    """Return the kind of projection whose tensors these are; None where it is none of the table."""
    return next((one for one in PROJECTIONS if one.told_by in names), None)


def of_faces(names: Mapping[str, object]) -> bool:
    """Tell whether these tensors are of a projection that reads faces (FaceID)."""
    return projection_of(names) is None and any(told <= names.keys() for told in OF_FACES)


def without(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors whose names begin so, without that beginning."""
    return ((name.removeprefix(prefix), one) for name, one in tensors.items() if name.startswith(prefix))
