"""`anatomy`: how much a file changes, and where: by block and by kind of layer.

The size of a change is its Frobenius norm ‖Δ‖ at strength 1. Squares of sizes add up over layers, so a share is a share
of Σ‖Δ‖², and all shares together are 1.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum, prod, sqrt
from typing import Any

import torch

from lycoris.adapter import Adapter
from lycoris.algorithms.change import ANY
from lycoris.errors import shown
from lycoris.files.model_folder import Copy, shapes_of
from lycoris.placement.resolve import module_of
from lycoris.stack import StackEntry
from lycoris.tools.dense import groups, leans_on_weight, refuse_infinite
from lycoris.tools.kinds import ATTENTION, CONVOLUTION, FEED_FORWARD, KINDS, TEXT, block_of, kind_of, order_of
from lycoris.tools.progress import Progress, silent

LARGEST = 1 << 28  # numbers of a change that is formed without a model to say that a weight is of this shape
LEANS = 2  # how many times the one must outweigh the other for a file to lean to it


@dataclass(frozen=True)
class Part:
    """What is changed of one parameter."""

    name: str
    block: str
    kind: str
    square: float  # ‖Δ‖²
    weight_square: float | None  # ‖W₀‖²; None: no model was given


@dataclass(frozen=True)
class Anatomy:
    """Where the change of a file lies."""

    parts: tuple[Part, ...]
    unsized: tuple[str, ...]  # layers whose change depends on a weight that was not given

    @property
    def square(self) -> float:
        """Σ‖Δ‖² of all parts."""
        return fsum(part.square for part in self.parts)

    @property
    def blocks(self) -> list[str]:
        """The blocks that are changed, in the order of the model."""
        return sorted({part.block for part in self.parts}, key=lambda block: (order_of(block), block))

    @property
    def kinds(self) -> list[str]:
        """The kinds of layer that are changed, in the order of KINDS."""
        return [kind for kind in KINDS if any(part.kind == kind for part in self.parts)]

    def shares(self, key: Callable[[Part], Any]) -> dict[Any, float]:
        """Return the share of Σ‖Δ‖² by any property of the parts; 0 everywhere if nothing is changed at all."""
        squares: dict[Any, list[float]] = defaultdict(list)
        for part in self.parts:
            squares[key(part)].append(part.square)
        whole = self.square or 1.0
        return {name: fsum(found) / whole for name, found in squares.items()}

    def relative(self, holds: Callable[[Part], bool] = lambda _: True) -> float | None:
        """Return ‖Δ‖/‖W₀‖ over the parts that are asked for; None where there is no model or only zeros."""
        parts = [part for part in self.parts if holds(part)]
        weights = [part.weight_square for part in parts if part.weight_square is not None]
        if len(weights) < len(parts) or not fsum(weights):
            return None
        return sqrt(fsum(part.square for part in parts) / fsum(weights))

    def as_dict(self) -> dict[str, Any]:
        """Return the anatomy as JSON-ready data."""
        by_both = self.shares(lambda part: (part.block, part.kind))
        return {
            "size": sqrt(self.square),
            "relative": self.relative(),
            "kinds": self.shares(lambda part: part.kind),
            "blocks": {
                block: {
                    "relative": self.relative(lambda part, block=block: part.block == block),
                    "kinds": {kind: by_both[block, kind] for kind in self.kinds if (block, kind) in by_both},
                }
                for block in self.blocks
            },
            "unsized": list(self.unsized),
            "reading": reading(self),
        }


def anatomy(
    adapter: Adapter, copies: Mapping[str, tuple[Copy, ...]] | None = None, told: Progress[Any] = silent
) -> Anatomy:
    """Return where the change of an adapter lies; with a model, by its own names, and relative to its weights.

    Without one, layers whose change depends on the weight (DoRA, OFT, (IA)³, …) are left out and named.
    Raises NoPlace if the model cannot wear the adapter, StackRefused if its change is not finite.
    """
    return _alone(adapter, told) if copies is None else _on(adapter, copies, told)


def reading(found: Anatomy) -> str:
    """Return the anatomy in a sentence: composition or texture."""
    shares = found.shares(lambda part: part.kind)
    image = fsum(share for kind, share in shares.items() if kind != TEXT)
    if not image:
        return "Only the text encoder is changed: what words mean, not how pictures are made." if shares else "Nothing."
    layout = shares.get(ATTENTION, 0.0) + shares.get(FEED_FORWARD, 0.0)
    texture = shares.get(CONVOLUTION, 0.0)
    if not texture:
        return (
            "No convolution is changed: it works through attention, on what is where (composition, subject), and on "
            "surfaces (texture) only by way of that."
        )
    side = "composition" if layout > LEANS * texture else "texture" if texture > LEANS * layout else "neither side"
    return (
        f"Attention and feed-forward, which decide what is where (composition), have {layout / image:.0%} of the "
        f"change to the image model; convolutions, which draw surfaces (texture), {texture / image:.0%}. "
        f"It leans to {side}."
    )


def table(found: Anatomy) -> Iterator[str]:
    """Yield the lines of the anatomy as a table: shares of the change in per cent."""
    by_both, by_kind = found.shares(lambda part: (part.block, part.kind)), found.shares(lambda part: part.kind)
    by_block = found.shares(lambda part: part.block)
    heads = ["block", *found.kinds, "all", "‖Δ‖"] + (["‖Δ‖/‖W‖"] if found.relative() is not None else [])
    rows = [heads]
    for block in found.blocks:
        size = sqrt(by_block[block] * found.square)
        shares = [_percent(by_both.get((block, kind))) for kind in found.kinds]
        rows.append([block, *shares, _percent(by_block[block]), f"{size:.3g}"])
        rows[-1] += _relative(found.relative(lambda part, block=block: part.block == block), heads)
    rows.append(["all", *(_percent(by_kind[kind]) for kind in found.kinds), _percent(1.0), f"{sqrt(found.square):.3g}"])
    rows[-1] += _relative(found.relative(), heads)
    if found.relative() is not None:
        of_kinds = [
            _relative(found.relative(lambda part, kind=kind: part.kind == kind), heads)[0] for kind in found.kinds
        ]
        rows.append(["‖Δ‖/‖W‖", *of_kinds])
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(len(heads))]
    for row in rows:
        first, *others = row
        yield "  ".join((first.ljust(widths[0]), *(map(str.rjust, others, widths[1:])))).rstrip()
    yield ""
    yield reading(found)
    if found.unsized:
        names = ", ".join(shown(name) for name in found.unsized[:3]) + (", …" if len(found.unsized) > 3 else "")
        count = len(found.unsized)
        yield f"Left out, for without --model the size of their change is not known: {count} layers, {names}"


def _on(adapter: Adapter, copies: Mapping[str, tuple[Copy, ...]], told: Progress[Any]) -> Anatomy:
    parts: list[Part] = []
    for group in told(groups([StackEntry(adapter)], shapes_of(copies)), "measuring"):
        copy = copies[group.component][0]
        pristine = {name: copy.stored[name].read() for name in group.parameters}
        for name, change in group.change(pristine).items():
            module, _ = module_of(name)
            weight = copy.stored.get(f"{module}.weight")
            axes = len(weight.shape) if weight else change.ndim
            block, kind = block_of(group.component, module), kind_of(group.component, module, axes)
            parts.append(Part(f"{group.component}.{name}", block, kind, _square(change), _square(pristine[name])))
    return Anatomy(tuple(parts), ())


def _alone(adapter: Adapter, told: Progress[Any]) -> Anatomy:
    parts: list[Part] = []
    unsized: list[str] = []
    for layer in told(adapter.layers, "measuring"):
        component = layer.components[0] if layer.components else ""
        axes = len(layer.changes["weight"].shape) if "weight" in layer.changes else 0
        block, kind = block_of(component, layer.module), kind_of(component, layer.module, axes)
        for parameter, change in layer.changes.items():
            shape = change.shape
            if ANY in shape or prod(shape) > LARGEST or leans_on_weight(change, shape):
                unsized.append(layer.name)
                continue
            whole = torch.zeros(shape)
            change.add_change(whole, torch.zeros(shape), 1.0)
            refuse_infinite({f"{layer.name}.{parameter}": whole})
            parts.append(Part(f"{layer.name}.{parameter}", block, kind, _square(whole), None))
    return Anatomy(tuple(parts), tuple(dict.fromkeys(unsized)))


def _square(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _relative(share: float | None, heads: list[str]) -> list[str]:
    return [] if heads[-1] != "‖Δ‖/‖W‖" else ["" if share is None else f"{100 * share:.2f} %"]
