"""`extract`: the difference of a fine-tuned model from its base as a LoCon, layer by layer."""

from collections.abc import Mapping

import torch

from lycoris.errors import Code, NoPlace, Reason, ToolRefused
from lycoris.files.model_folder import Variant, default_shapes
from lycoris.kernels.linalg import finite
from lycoris.tools.lowrank import Budget, Loss
from lycoris.tools.names import KOHYA_ENCODER_PREFIXES, KOHYA_PREFIXES, Namer, Style
from lycoris.tools.progress import Progress, silent
from lycoris.tools.regroup import PlacedChange, placed_change, to_state_dict
from lycoris.tools.to_lora import approximate, as_it_is
from lycoris.tools.writing import Draft, as_lora, metadata_of, widest

Variants = Mapping[str, tuple[Variant, ...]]


def extract(
    tuned: Variants,
    base: Variants,
    budget: Budget,
    style: Style = "kohya",
    dtype: torch.dtype | None = None,
    progress: Progress[tuple[str, str]] = silent,
) -> tuple[Draft, list[Loss]]:
    """Return the difference of two models as a LoCon, and the loss of every layer.

    Matrices and kernels that differ become factors, biases and norms that differ are kept in full (`diff`, `diff_b`).
    dtype: of the factors; unset, that of the tuned weights. Raises NoPlace if the models are not of one architecture,
    ToolRefused if they do not differ.
    """
    components = [
        component for component in KOHYA_PREFIXES | KOHYA_ENCODER_PREFIXES if component in base or component in tuned
    ]
    _refuse_unlike(tuned, base, components)
    shapes = default_shapes(base)
    changes: list[PlacedChange] = []
    losses: list[Loss] = []
    work = [(component, parameter) for component in components for parameter in sorted(base[component][0].spans)]
    for component, parameter in progress(work, "extracting"):
        after, before = (models[component][0].spans[parameter].read() for models in (tuned, base))
        change = after.float() - before.float()
        if not finite(change):
            message = "is not finite in one of the models, or their difference is not"
            raise ToolRefused([Reason(Code.NOT_FINITE, f"{component}.{parameter}", message)])
        if not change.any():
            continue
        factors = dtype or widest([after])
        if change.ndim < 2:
            found = as_it_is(parameter, change.to(factors))
        else:
            found, loss = approximate(change, budget, factors, f"{component}.{parameter}")
            losses.append(loss)
        changes.append(placed_change(component, parameter, found, shapes))
    if not changes:
        raise ToolRefused([Reason(Code.EMPTY, "", "the two models do not differ")])
    tensors, _ = to_state_dict(changes, Namer(style, shapes))
    ranks = [len(tensor) for name, tensor in tensors.items() if name.endswith((".lora_down.weight", ".lora_A.weight"))]
    done = {"tool": "extract", "rank": budget.rank, "energy": budget.energy}
    return Draft(tensors, as_lora(metadata_of({}, **done), ranks)), losses


def _refuse_unlike(tuned: Variants, base: Variants, components: list[str]) -> None:
    theirs, ours = default_shapes(tuned), default_shapes(base)
    reasons: list[Reason] = []
    for component in components:
        if component not in theirs or component not in ours:
            which = "tuned model" if component not in theirs else "base"
            reasons.append(Reason(Code.NO_COMPONENT, component, f"is not in the {which}"))
            continue
        for parameter in sorted(theirs[component].keys() | ours[component].keys()):
            after, before = (shapes[component].get(parameter) for shapes in (theirs, ours))
            if after != before:
                message = f"is {after or 'absent'} in the tuned model and {before or 'absent'} in the base"
                reasons.append(Reason(Code.MISFIT, f"{component}.{parameter}", message))
    if reasons:
        raise NoPlace(reasons)
    if not components:
        parts = ", ".join(KOHYA_PREFIXES | KOHYA_ENCODER_PREFIXES)
        raise NoPlace([Reason(Code.NO_COMPONENT, "", f"neither model has a component that adapters change: {parts}")])
