"""Changes of a model's parameters, said in the layers of a file: joined, divided and put in order, all of it exact."""

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
from lycoris.tools.names import ONETRAINER, Namer, Style, Unit
from lycoris.tools.writing import exactly

Tensors = dict[str, Tensor]  # suffix -> tensor
WHOLE = (Difference, LoRABias)  # changes whose every element belongs to one element of the parameter

PEFT_BIAS = "lora_B.bias"
INDIVISIBLE = frozenset({"lora_mid.weight", "bias_values"})  # of a LoRA: its rows are not rows of lora_up alone


@dataclass(frozen=True, eq=False)
class Held:
    """A change and the rows of a component's parameters that it is of, one below the other."""

    component: str
    rows: tuple[Rows, ...]
    change: Change
    layer: str  # what messages call it

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(each.stop - each.start for each in self.rows)


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of a unit that a change has rows for."""

    held: Held
    rows: slice  # of the change
    place: slice  # of the unit


def held_of(targets: Iterable[Target]) -> list[Held]:
    """Return the changes of an adapter that was resolved."""
    return [Held(target.component, target.view.rows, target.change, target.layer.name) for target in targets]


def whole(component: str, parameter: str, change: Change, shapes: Mapping[str, Shapes]) -> Held:
    """Return the change of one parameter, all of it."""
    return Held(component, (Rows(parameter, 0, shapes[component][parameter][0]),), change, f"{component}.{parameter}")


def spoken(changes: Iterable[Held], namer: Namer) -> tuple[dict[str, Tensor], list[str]]:
    """Return the changes as the tensors of a file in the namer's style, by full name, and notes for the user.

    A change that is of exactly the rows of one of the file's layers stays what it is. Others are divided and joined if
    they can: differences number by number, LoRAs with their ranks side by side. What cannot be joined into a layer of
    kohya's keeps a name for each parameter. Raises ToolRefused for what cannot be divided.
    """
    layers: dict[Unit, Tensors] = {}
    reasons: list[Reason] = []
    joined: set[str] = set()
    apart: set[str] = set()
    for unit, pieces in _by_unit(changes, namer):
        found = _of_unit(pieces, unit, namer.style)
        if found is not None:
            layers[unit] = found
            if "lora_up.weight" in found and len({piece.held for piece in pieces}) > 1:
                joined.add(unit.name)
            continue
        for parameter in unit.parameters if len(unit.parameters) > 1 else ():
            own = namer.alone(unit.component, parameter)
            mine = list(_pieces({piece.held: None for piece in pieces}, own))
            found = _of_unit(mine, own, namer.style) if mine else {}
            if found is None:
                break
            if found:
                layers[own] = found
                apart.add(own.name)
        if found is None:
            message = "is one layer in the file and several under these names: divide it with --to-lora"
            reasons.append(Reason(Code.NO_FORM, pieces[0].held.layer, message))
    if reasons:
        raise ToolRefused(dict.fromkeys(reasons))
    groups: dict[str, tuple[Unit, Tensors]] = {}
    for unit, found in sorted(layers.items(), key=lambda item: (item[0].name, item[0].kind)):
        groups.setdefault(unit.name, (unit, {}))[1].update(found)
    tensors: dict[str, Tensor] = {}
    for unit, group in groups.values():
        if namer.style == "diffusers" and "diff_b" in group and "lora_up.weight" in group:
            group[PEFT_BIAS] = group.pop("diff_b")  # beside a LoRA, whose scale is 1 by now
        tensors |= namer.named(unit, group)
    return tensors, list(_notes(joined, apart))


def said(change: Change, style: Style) -> Tensors:
    """Return the tensors of a change, by suffix, as a file of the style has them."""
    if isinstance(change, DoRA):
        return said(change.layer, style) | _magnitude(change, style)
    if isinstance(change, LoRABias):
        scaled = exactly(change.bias.double() * change.lora.gamma, change.bias.dtype)
        return {"diff_b" if style == "kohya" else PEFT_BIAS: scaled}
    tensors = change.tensors()
    if not isinstance(change, LoRA):
        return tensors
    if style == "kohya":
        if "scale" in tensors:
            return tensors
        # As the rank where there is none: LyCORIS wants to be told.
        return tensors | {"alpha": torch.tensor(float(change.alpha or change.rank), dtype=torch.float32)}
    plain = {suffix: tensor for suffix, tensor in tensors.items() if suffix not in ("alpha", "scale")}
    if change.gamma == 1:
        return plain
    return plain | {
        suffix: exactly(tensor.double() * change.gamma, tensor.dtype)
        for suffix, tensor in plain.items()
        if suffix in ("lora_up.weight", "bias_values")
    }


def _by_unit(changes: Iterable[Held], namer: Namer) -> Iterator[tuple[Unit, list[Piece]]]:
    met: dict[Unit, dict[Held, None]] = defaultdict(dict)
    for held in changes:
        for rows in held.rows:
            met[namer.unit(held.component, rows.parameter)][held] = None
    return ((unit, list(_pieces(some, unit))) for unit, some in met.items())


def _pieces(changes: Iterable[Held], unit: Unit) -> Iterator[Piece]:
    """Yield where rows of the changes are rows of a unit."""
    for held in changes:
        of_change = 0
        for ours in held.rows:
            of_unit = 0
            for theirs in unit.rows:
                if ours.meets(theirs):
                    first, last = max(ours.start, theirs.start), min(ours.stop, theirs.stop)
                    rows = slice(of_change + first - ours.start, of_change + last - ours.start)
                    yield Piece(held, rows, slice(of_unit + first - theirs.start, of_unit + last - theirs.start))
                of_unit += theirs.stop - theirs.start
            of_change += ours.stop - ours.start


def _of_unit(pieces: Sequence[Piece], unit: Unit, style: Style) -> Tensors | None:
    """Return what a file says of one unit, or None if it cannot."""
    changes = {piece.held: piece.held.change for piece in pieces}
    if all(held.rows == unit.rows for held in changes):
        return said(next(iter(changes.values())), style)
    if all(isinstance(change, WHOLE) for change in changes.values()):
        return {"diff" if unit.kind == "weight" else "diff_b": _placed(pieces, unit.shape)}
    loras = {
        held: change
        for held, change in changes.items()
        if isinstance(change, LoRA) and not INDIVISIBLE & change.tensors().keys()
    }
    return said(_side_by_side(pieces, loras, unit.shape[0]), style) if len(loras) == len(changes) else None


def _placed(pieces: Sequence[Piece], shape: Sequence[int]) -> Tensor:
    """Return the change of a unit of which layers have rows, none of which leans on the weight."""
    whole = torch.zeros(*shape)
    for piece in pieces:
        change = torch.zeros(piece.held.count, *shape[1:])
        piece.held.change.add_change(change, torch.zeros_like(change), 1.0)
        whole[piece.place] += change[piece.rows]
    dtypes = {tensor.dtype for piece in pieces for tensor in piece.held.change.tensors().values()}
    return exactly(whole, dtypes.pop()) if len(dtypes) == 1 else whole


def _side_by_side(pieces: Sequence[Piece], loras: Mapping[Held, LoRA], outputs: int) -> LoRA:
    """Return one LoRA of a unit from LoRAs of some of its rows each: their ranks side by side."""
    gammas = {lora.gamma for lora in loras.values()}
    gamma = gammas.pop() if len(gammas) == 1 else None
    ups: list[Tensor] = []
    for held, lora in loras.items():
        up = lora.lora_up if gamma is not None else lora.lora_up.double() * lora.gamma
        ups.append(torch.zeros(outputs, *up.shape[1:], dtype=up.dtype))
        for piece in pieces:
            if piece.held is held:
                ups[-1][piece.place] = up[piece.rows]
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


def _notes(joined: set[str], apart: set[str]) -> Iterator[str]:
    if joined:
        yield f"one layer in these names and several in the model, whose ranks lie side by side: {len(joined)}"
    if apart:
        yield (
            f"{len(apart)} layers are not to be joined as these names would have it and keep diffusers', as OneTrainer "
            f"and ComfyUI read them ({ONETRAINER}_…), but not kohya's scripts: --to diffusers or --to-lora avoids it"
        )
