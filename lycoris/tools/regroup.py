"""Changes of a model's parameters as the layers of a file: joined, divided and reordered exactly."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.algorithms.bias import LoRABias
from lycoris.algorithms.change import Change
from lycoris.algorithms.dora import DoRA
from lycoris.algorithms.lora import LoRA
from lycoris.algorithms.stored import Difference
from lycoris.errors import Code, Reason, ToolRefused
from lycoris.placement.resolve import Target
from lycoris.placement.shapes import Shapes
from lycoris.placement.views import Rows
from lycoris.tools.names import ONETRAINER, FileLayer, Namer, Style
from lycoris.tools.writing import exactly

Tensors = dict[str, Tensor]  # suffix -> tensor
WHOLE = (Difference, LoRABias)  # changes with one element for each element of the parameter

PEFT_BIAS = "lora_B.bias"
INDIVISIBLE = frozenset({"lora_mid.weight", "bias_values"})  # of a LoRA whose rows are not rows of lora_up alone


@dataclass(frozen=True, eq=False)
class PlacedChange:
    """A change and the rows of a component's parameters that it changes, concatenated along dim 0."""

    component: str
    rows: tuple[Rows, ...]
    change: Change
    layer: str  # its name in messages

    @property
    def count(self) -> int:
        """Number of rows."""
        return sum(each.stop - each.start for each in self.rows)


@dataclass(frozen=True, eq=False)
class Overlap:
    """Rows of a file's layer that a change has rows for."""

    placed: PlacedChange
    rows: slice  # of the change
    of_layer: slice  # of the layer


def placed_changes(targets: Iterable[Target]) -> list[PlacedChange]:
    """Return the changes of a resolved adapter."""
    return [PlacedChange(target.component, target.view.rows, target.change, target.layer.name) for target in targets]


def placed_change(component: str, parameter: str, change: Change, shapes: Mapping[str, Shapes]) -> PlacedChange:
    """Return a change of all rows of one parameter."""
    return PlacedChange(
        component, (Rows(parameter, 0, shapes[component][parameter][0]),), change, f"{component}.{parameter}"
    )


def to_state_dict(changes: Iterable[PlacedChange], namer: Namer) -> tuple[dict[str, Tensor], list[str]]:
    """Return the changes as the tensors of a file in the namer's style, by full name, and notes for the user.

    A change of exactly the rows of one layer of the file stays as it is. Others are divided and joined where possible:
    differences by element, LoRAs with their ranks concatenated. Parameters that cannot be joined into one of kohya's
    layers keep a name each. Raises ToolRefused for a change that cannot be divided.
    """
    layers: dict[FileLayer, Tensors] = {}
    reasons: list[Reason] = []
    joined: set[str] = set()
    separate: set[str] = set()
    for layer, overlaps in _by_layer(changes, namer):
        found = _of_layer(overlaps, layer, namer.style)
        if found is not None:
            layers[layer] = found
            if "lora_up.weight" in found and len({overlap.placed for overlap in overlaps}) > 1:
                joined.add(layer.name)
            continue
        for parameter in layer.parameters if len(layer.parameters) > 1 else ():
            own = namer.separate(layer.component, parameter)
            own_overlaps = list(_overlaps({overlap.placed: None for overlap in overlaps}, own))
            found = _of_layer(own_overlaps, own, namer.style) if own_overlaps else {}
            if found is None:
                break
            if found:
                layers[own] = found
                separate.add(own.name)
        if found is None:
            message = "is one layer in the file and several under these names: divide it with --to-lora"
            reasons.append(Reason(Code.NO_FORM, overlaps[0].placed.layer, message))
    if reasons:
        raise ToolRefused(dict.fromkeys(reasons))
    groups: dict[str, tuple[FileLayer, Tensors]] = {}
    for layer, found in sorted(layers.items(), key=lambda item: (item[0].name, item[0].kind)):
        groups.setdefault(layer.name, (layer, {}))[1].update(found)
    tensors: dict[str, Tensor] = {}
    for layer, group in groups.values():
        if namer.style == "diffusers" and "diff_b" in group and "lora_up.weight" in group:
            group[PEFT_BIAS] = group.pop("diff_b")  # PEFT's name next to a LoRA, whose scale is 1 by now
        tensors |= namer.named(layer, group)
    return tensors, list(_notes(joined, separate))


def tensors_of(change: Change, style: Style) -> Tensors:
    """Return the tensors of a change, by suffix, as a file of this style stores them."""
    if isinstance(change, DoRA):
        return tensors_of(change.layer, style) | _magnitude(change, style)
    if isinstance(change, LoRABias):
        scaled = exactly(change.bias.double() * change.lora.gamma, change.bias.dtype)
        return {"diff_b" if style == "kohya" else PEFT_BIAS: scaled}
    tensors = change.tensors()
    if not isinstance(change, LoRA):
        return tensors
    if style == "kohya":
        if "scale" in tensors:
            return tensors
        # The rank where there is no alpha: LyCORIS needs one.
        return tensors | {"alpha": torch.tensor(float(change.alpha or change.rank), dtype=torch.float32)}
    plain = {suffix: tensor for suffix, tensor in tensors.items() if suffix not in ("alpha", "scale")}
    if change.gamma == 1:
        return plain
    return plain | {
        suffix: exactly(tensor.double() * change.gamma, tensor.dtype)
        for suffix, tensor in plain.items()
        if suffix in ("lora_up.weight", "bias_values")
    }


def _by_layer(changes: Iterable[PlacedChange], namer: Namer) -> Iterator[tuple[FileLayer, list[Overlap]]]:
    met: dict[FileLayer, dict[PlacedChange, None]] = defaultdict(dict)
    for placed in changes:
        for rows in placed.rows:
            met[namer.layer(placed.component, rows.parameter)][placed] = None
    return ((layer, list(_overlaps(some, layer))) for layer, some in met.items())


def _overlaps(changes: Iterable[PlacedChange], layer: FileLayer) -> Iterator[Overlap]:
    """Yield the rows that the changes have in common with a layer of the file."""
    for placed in changes:
        of_change = 0
        for ours in placed.rows:
            of_unit = 0
            for theirs in layer.rows:
                if ours.meets(theirs):
                    first, last = max(ours.start, theirs.start), min(ours.stop, theirs.stop)
                    rows = slice(of_change + first - ours.start, of_change + last - ours.start)
                    yield Overlap(placed, rows, slice(of_unit + first - theirs.start, of_unit + last - theirs.start))
                of_unit += theirs.stop - theirs.start
            of_change += ours.stop - ours.start


def _of_layer(overlaps: Sequence[Overlap], layer: FileLayer, style: Style) -> Tensors | None:
    """Return the tensors of one layer of a file, or None if there is no form for it."""
    changes = {overlap.placed: overlap.placed.change for overlap in overlaps}
    if all(placed.rows == layer.rows for placed in changes):
        return tensors_of(next(iter(changes.values())), style)
    if all(isinstance(change, WHOLE) for change in changes.values()):
        return {"diff" if layer.kind == "weight" else "diff_b": _placed(overlaps, layer.shape)}
    loras = {
        placed: change
        for placed, change in changes.items()
        if isinstance(change, LoRA) and not INDIVISIBLE & change.tensors().keys()
    }
    return tensors_of(_joined_ranks(overlaps, loras, layer.shape[0]), style) if len(loras) == len(changes) else None


def _placed(overlaps: Sequence[Overlap], shape: Sequence[int]) -> Tensor:
    """Return the change of a layer from differences of its rows, none of which depends on the weight."""
    total = torch.zeros(*shape)
    for overlap in overlaps:
        change = torch.zeros(overlap.placed.count, *shape[1:])
        overlap.placed.change.add_change(change, torch.zeros_like(change), 1.0)
        total[overlap.of_layer] += change[overlap.rows]
    dtypes = {tensor.dtype for overlap in overlaps for tensor in overlap.placed.change.tensors().values()}
    return exactly(total, dtypes.pop()) if len(dtypes) == 1 else total


def _joined_ranks(overlaps: Sequence[Overlap], loras: Mapping[PlacedChange, LoRA], outputs: int) -> LoRA:
    """Return one LoRA of a layer from LoRAs of some of its rows each, with their ranks concatenated."""
    gammas = {lora.gamma for lora in loras.values()}
    gamma = gammas.pop() if len(gammas) == 1 else None
    ups: list[Tensor] = []
    for placed, lora in loras.items():
        up = lora.lora_up if gamma is not None else lora.lora_up.double() * lora.gamma
        ups.append(torch.zeros(outputs, *up.shape[1:], dtype=up.dtype))
        for overlap in overlaps:
            if overlap.placed is placed:
                ups[-1][overlap.of_layer] = up[overlap.rows]
    down = torch.cat([lora.lora_down for lora in loras.values()])
    up = torch.cat(ups, dim=1)
    return LoRA(
        lora_up=up if gamma is not None else up.float(),
        lora_down=down,
        alpha=torch.tensor((1.0 if gamma is None else gamma) * len(down), dtype=torch.float32),
    )


def _magnitude(change: DoRA, style: Style) -> Tensors:
    """Return a DoRA's magnitude: a column for kohya, PEFT's shape for diffusers if it is per output."""
    scale, axes = change.dora_scale, len(change.shape)
    kernel = [1] * (axes - 2)
    if scale is None:
        column = change.magnitude.reshape(-1, 1, *kernel)
        return {"dora_scale": column} if style == "kohya" else {"lora_magnitude_vector": change.magnitude}
    per_output = scale.ndim > 1 and scale.shape[0] == scale.numel() == change.shape[0]
    if style == "kohya" or not per_output or not isinstance(change.layer, LoRA):
        return {"dora_scale": scale}
    return {"lora_magnitude_vector": scale.reshape(1, -1, *kernel) if kernel else scale.flatten()}


def _notes(joined: set[str], separate: set[str]) -> Iterator[str]:
    if joined:
        yield f"layers that are one under these names and several in the model, with their ranks joined: {len(joined)}"
    if separate:
        yield (
            f"{len(separate)} layers cannot be joined and keep diffusers' names ({ONETRAINER}_…), which OneTrainer and "
            "ComfyUI read, but not kohya's scripts: --to diffusers or --to-lora avoids it"
        )
