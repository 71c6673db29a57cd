"""`anatomy`: the size of a file's change by block and by kind of layer.

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
from lycoris.files.model_folder import Variant, default_shapes
from lycoris.placement.resolve import split_parameter
from lycoris.stack import StackEntry
from lycoris.tools.dense import depends_on_weight, groups, refuse_infinite
from lycoris.tools.kinds import ATTENTION, CONVOLUTION, FEED_FORWARD, KINDS, TEXT, block_of, kind_of, order_of
from lycoris.tools.progress import Progress, silent

LARGEST = 1 << 28  # elements of a change that is computed without a model that has a weight of this shape
FACTOR = 2  # by which one side must exceed the other to be named


@dataclass(frozen=True)
class ParameterChange:
    """The change of one parameter, by its size."""

    name: str
    block: str
    kind: str
    square: float  # ‖Δ‖²
    weight_square: float | None  # ‖W₀‖²; None: no model was given


@dataclass(frozen=True)
class Anatomy:
    """The change of a file, parameter by parameter."""

    parts: tuple[ParameterChange, ...]
    unsized: tuple[str, ...]  # layers whose change depends on a weight that was not given

    @property
    def square(self) -> float:
        """Σ‖Δ‖² of all parts."""
        return fsum(part.square for part in self.parts)

    @property
    def blocks(self) -> list[str]:
        """The changed blocks, in the order of the model."""
        return sorted({part.block for part in self.parts}, key=lambda block: (order_of(block), block))

    @property
    def kinds(self) -> list[str]:
        """The changed kinds of layer, in the order of KINDS."""
        return [kind for kind in KINDS if any(part.kind == kind for part in self.parts)]

    def shares(self, key: Callable[[ParameterChange], Any]) -> dict[Any, float]:
        """Return the share of Σ‖Δ‖² by any property of the parts; all 0 if nothing is changed."""
        squares: dict[Any, list[float]] = defaultdict(list)
        for part in self.parts:
            squares[key(part)].append(part.square)
        whole = self.square or 1.0
        return {name: fsum(found) / whole for name, found in squares.items()}

    def relative(self, holds: Callable[[ParameterChange], bool] = lambda _: True) -> float | None:
        """Return ‖Δ‖/‖W₀‖ over the selected parts; None without a model, or if all weights are zero."""
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
    adapter: Adapter, variants: Mapping[str, tuple[Variant, ...]] | None = None, progress: Progress[Any] = silent
) -> Anatomy:
    """Return the anatomy of an adapter; with a model by the model's own names, and relative to its weights.

    Without one, layers whose change depends on the weight (DoRA, OFT, (IA)³, …) are left out and named.
    Raises NoPlace if the adapter does not fit the model, StackRefused if its change is not finite.
    """
    return _alone(adapter, progress) if variants is None else _on(adapter, variants, progress)


def reading(found: Anatomy) -> str:
    """Return the anatomy in a sentence: composition or texture."""
    shares = found.shares(lambda part: part.kind)
    image = fsum(share for kind, share in shares.items() if kind != TEXT)
    if not image:
        return (
            "Only the text encoder is changed: the meaning of words, not the way pictures are made."
            if shares
            else "Nothing."
        )
    layout = shares.get(ATTENTION, 0.0) + shares.get(FEED_FORWARD, 0.0)
    texture = shares.get(CONVOLUTION, 0.0)
    if not texture:
        return (
            "No convolution is changed: it works through attention, on what is where (composition, subject), and on "
            "surfaces (texture) only by way of that."
        )
    side = "composition" if layout > FACTOR * texture else "texture" if texture > FACTOR * layout else "neither side"
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
        yield f"Left out, because the size of their change is not known without --model: {count} layers, {names}"


def _on(adapter: Adapter, variants: Mapping[str, tuple[Variant, ...]], progress: Progress[Any]) -> Anatomy:
    parts: list[ParameterChange] = []
    for group in progress(groups([StackEntry(adapter)], default_shapes(variants)), "measuring"):
        variant = variants[group.component][0]
        pristine = {name: variant.spans[name].read() for name in group.parameters}
        for name, change in group.change(pristine).items():
            module, _ = split_parameter(name)
            weight = variant.spans.get(f"{module}.weight")
            axes = len(weight.shape) if weight else change.ndim
            block, kind = block_of(group.component, module), kind_of(group.component, module, axes)
            parts.append(
                ParameterChange(f"{group.component}.{name}", block, kind, _square(change), _square(pristine[name]))
            )
    return Anatomy(tuple(parts), ())


def _alone(adapter: Adapter, progress: Progress[Any]) -> Anatomy:
    parts: list[ParameterChange] = []
    unsized: list[str] = []
    for layer in progress(adapter.layers, "measuring"):
        component = layer.components[0] if layer.components else ""
        axes = len(layer.changes["weight"].shape) if "weight" in layer.changes else 0
        block, kind = block_of(component, layer.module), kind_of(component, layer.module, axes)
        for parameter, change in layer.changes.items():
            shape = change.shape
            if ANY in shape or prod(shape) > LARGEST or depends_on_weight(change, shape):
                unsized.append(layer.name)
                continue
            whole = torch.zeros(shape)
            change.add_change(whole, torch.zeros(shape), 1.0)
            refuse_infinite({f"{layer.name}.{parameter}": whole})
            parts.append(ParameterChange(f"{layer.name}.{parameter}", block, kind, _square(whole), None))
    return Anatomy(tuple(parts), tuple(dict.fromkeys(unsized)))


def _square(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _relative(share: float | None, heads: list[str]) -> list[str]:
    return [] if heads[-1] != "‖Δ‖/‖W‖" else ["" if share is None else f"{100 * share:.2f} %"]
