"""`convert --to`: the same changes under the names of kohya or of diffusers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.adapter import Adapter
from lycoris.algorithms.bias import LoRABias
from lycoris.algorithms.change import Change
from lycoris.algorithms.dora import DoRA
from lycoris.algorithms.full import Full, FullBias
from lycoris.algorithms.lora import LoRA
from lycoris.algorithms.norm import Norm, NormBias
from lycoris.errors import Code, Reason, ToolRefused
from lycoris.targets import Shapes, Target, resolve
from lycoris.tools.names import Namer, Style, module_of
from lycoris.tools.writing import Draft, exactly, metadata_of

Tensors = dict[str, Tensor]  # suffix -> tensor
WHOLE = (Full, FullBias, Norm, NormBias, LoRABias)  # changes whose every number belongs to one number of the parameter

PEFT_BIAS = "lora_B.bias"
INDIVISIBLE = frozenset({"lora_mid.weight", "bias_values"})  # of a LoRA: its rows are not rows of lora_up alone


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one parameter that a change has rows for."""

    target: Target
    rows: slice  # of the change
    place: slice  # of the parameter


def convert(adapter: Adapter, components: Mapping[str, Shapes], style: Style) -> tuple[Draft, list[str]]:
    """Return the adapter under the names of a style, for the model given by its shapes, and notes for the user.

    Changes stay what they are to the last bit, but for a scale that diffusers' files cannot hold: it goes into lora_B,
    in float32 where the stored dtype would round. A LoRA over several modules (a fused qkv) is divided exactly.
    Raises NoPlace, and ToolRefused for a layer that has no form under such names.
    """
    plan = resolve(adapter, components)
    parts: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for target in plan.targets:
        begin = 0
        for rows in target.view.rows:
            end = begin + rows.stop - rows.start
            place = slice(rows.start, rows.stop)
            parts[target.component, rows.parameter].append(Part(target, slice(begin, end), place))
            begin = end
    layers: dict[tuple[str, str], Tensors] = defaultdict(dict)
    reasons: list[Reason] = []
    for (component, parameter), held in parts.items():
        module, kind = module_of(parameter)
        found = _of_parameter(held, components[component][parameter], kind, style)
        if found is None:
            message = "is one layer in the file and several in the model: divide it with --to-lora"
            reasons.append(Reason(Code.NO_FORM, held[0].target.layer.name, message))
        else:
            layers[component, module] |= found
    if reasons:
        raise ToolRefused(dict.fromkeys(reasons))
    namer = Namer(style, components)
    tensors: Tensors = {}
    for (component, module), group in sorted(layers.items()):
        if style == "diffusers" and "diff_b" in group and "lora_up.weight" in group:
            group[PEFT_BIAS] = group.pop("diff_b")  # beside a LoRA, whose scale is 1 by now
        tensors |= namer.named(component, module, group)
    done = {"tool": "convert", "to": style, "of": adapter.sha256}
    return Draft(tensors, metadata_of(adapter.metadata, **done)), _notes(adapter, style)


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


def _of_parameter(parts: Sequence[Part], shape: Sequence[int], kind: str, style: Style) -> Tensors | None:
    """Return what a file says of one parameter, or None if it cannot."""
    changes = {part.target: part.target.change for part in parts}
    if all(target.view.whole for target in changes):
        return said(next(iter(changes.values())), style)
    if all(isinstance(change, WHOLE) for change in changes.values()):
        return {"diff" if kind == "weight" else "diff_b": _placed(parts, shape)}
    loras = {
        target: change
        for target, change in changes.items()
        if isinstance(change, LoRA) and not INDIVISIBLE & change.tensors().keys()
    }
    return said(_side_by_side(parts, loras, shape[0]), style) if len(loras) == len(changes) else None


def _placed(parts: Sequence[Part], shape: Sequence[int]) -> Tensor:
    """Return the change of a parameter of which layers of a file have rows, none of which leans on the weight."""
    whole = torch.zeros(*shape)
    for part in parts:
        change = torch.zeros(part.target.view.shape)
        part.target.change.add_change(change, torch.zeros_like(change), 1.0)
        whole[part.place] += change[part.rows]
    dtypes = {tensor.dtype for part in parts for tensor in part.target.change.tensors().values()}
    return exactly(whole, dtypes.pop()) if len(dtypes) == 1 else whole


def _side_by_side(parts: Sequence[Part], loras: Mapping[Target, LoRA], outputs: int) -> LoRA:
    """Return one LoRA of a parameter from LoRAs of some of its rows each: their ranks side by side."""
    gammas = {lora.gamma for lora in loras.values()}
    gamma = gammas.pop() if len(gammas) == 1 else None
    ups: list[Tensor] = []
    for target, lora in loras.items():
        up = lora.lora_up if gamma is not None else lora.lora_up.double() * lora.gamma
        ups.append(torch.zeros(outputs, *up.shape[1:], dtype=up.dtype))
        for part in parts:
            if part.target is target:
                ups[-1][part.place] = up[part.rows]
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


def _notes(adapter: Adapter, style: Style) -> list[str]:
    notes = []
    if adapter.embeddings:
        notes.append(f"embeddings are left out: {', '.join(sorted(adapter.embeddings))}")
    others = {name: count for name, count in adapter.algorithms.items() if name not in ("lora", "locon", "dora-lora")}
    if style == "diffusers" and others:
        listed = ", ".join(f"{name} {count}" for name, count in others.items())
        notes.append(f"diffusers itself wears LoRA only, not the rest of this file: {listed}")
    return notes
