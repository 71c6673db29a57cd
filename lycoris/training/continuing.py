"""`continue_from`: an adapter file's factors as the beginning of a training; every tensor is used, or it is refused."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapter import Adapter, load
from lycoris.algorithms.change import gamma
from lycoris.dialects.suffixes import MAGNITUDE
from lycoris.errors import Code, PlanRefused, Reason
from lycoris.placement.resolve import resolve, split_parameter
from lycoris.training.place import Tensors
from lycoris.training.plan import Plan, plan
from lycoris.training.reach import TrainedLayer
from lycoris.training.sizes import rank_of
from lycoris.training.trainable import FIXED, TrainableAdapter, begin, trainable

PLAN = "lycoris_plan"  # entry of a file's metadata: the plan that it was trained by, as JSON
CLOSE = 1e-6
SEEDED_MATRICES = frozenset({"vera_A", "vera_B"})  # fixed, and drawn: taken from the file


def plan_entry(plan: Plan) -> dict[str, str]:
    """Return the entry of a file's metadata that `plan_in` reads."""
    return {PLAN: json.dumps(asdict(plan), sort_keys=True)}


def plan_in(adapter: Adapter) -> Plan:
    """Return the plan that an adapter was trained by; raises PlanRefused where its file does not say, or wrongly."""
    try:
        found: Any = json.loads(adapter.metadata[PLAN])
        return plan(**found)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        message = f"the file's metadata has no {PLAN} that can be read: say the algorithm and its numbers"
        raise PlanRefused([Reason(Code.BAD_METADATA, "plan", message)]) from error


def continue_from(data: bytes, components: Mapping[str, nn.Module], plan: Plan | None = None) -> TrainableAdapter:
    """Return a file's adapter, ready to be trained further: its weights only, no optimiser's state.

    plan: what it is taken for; None for the one in the file's metadata. Raises FileRefused and NoPlace as `load` and
    `resolve` do, and PlanRefused where the file's layers, factors, sizes, scales or settings are not those that the
    plan has on this model, with every difference by name.
    """
    adapter = load(data)
    plan = plan_in(adapter) if plan is None else plan
    begun = begin(components, plan, seed=0)
    found = _by_layer(adapter, begun)
    names = {layer.name: layer for layer in begun.layers}
    reasons = [
        Reason(Code.UNKNOWN_TENSOR, name, "is in the file, and the plan does not train it")
        for name in found.keys() - names.keys()
    ]
    for name, layer in names.items():
        reasons += _differences(name, begun.tensors[layer], found.get(name, {}), scaled=plan.facts.alpha)
    if reasons:
        raise PlanRefused(reasons)
    tensors = {layer: _filled(begun, layer, found[name]) for name, layer in names.items()}
    return trainable(components, plan, tensors, begun.notes)


def _by_layer(adapter: Adapter, begun: TrainableAdapter) -> dict[str, Tensors]:
    """Return the tensors that a file has for each module of the model, by suffix."""
    found: dict[str, Tensors] = {}
    for target in resolve(adapter, begun.shapes).targets:
        name = f"{target.component}.{split_parameter(target.parameter)[0]}"
        if not target.view.whole:
            message = "is one layer in the file and several in the model: they cannot be trained apart from it"
            raise PlanRefused([Reason(Code.NO_FORM, name, message)])
        found.setdefault(name, {}).update(target.change.tensors())
    for tensors in found.values():
        if MAGNITUDE in tensors:
            tensors["dora_scale"] = tensors.pop(MAGNITUDE).flatten()  # along the outputs always
    return found


def _differences(name: str, wanted: Tensors, found: Tensors, scaled: bool) -> Iterator[Reason]:
    if not found:
        yield Reason(Code.INCOMPLETE, name, "is trained by the plan, and the file has nothing for it")
        return
    optional = {"alpha"}  # without one, the scale is 1
    for suffix in sorted((wanted.keys() ^ found.keys()) - optional):
        where = "which the plan does not have" if suffix in found else "which the file does not have"
        yield Reason(Code.UNKNOWN_TENSOR, f"{name}.{suffix}", f"is a factor {where}")
    for suffix in sorted((wanted.keys() & found.keys()) - optional):
        own, theirs = wanted[suffix], found[suffix]
        if own.numel() != theirs.numel() or (own.ndim == theirs.ndim and own.shape != theirs.shape):
            message = f"is of shape {tuple(theirs.shape)} in the file, and the plan's is {tuple(own.shape)}"
            yield Reason(Code.BAD_SHAPE, f"{name}.{suffix}", message)
        elif suffix in FIXED - SEEDED_MATRICES and not torch.equal(own.float(), theirs.float()):
            yield Reason(Code.BAD_OPTION, f"{name}.{suffix}", f"is {float(theirs):g} in the file, {float(own):g} here")
    before, after = (_alpha(tensors, scaled) for tensors in (found, wanted))
    if abs(before - after) > CLOSE * abs(after):
        what = "its scale" if scaled else "its constraint"
        yield Reason(Code.BAD_OPTION, f"{name}.alpha", f"{what} is {before:g} in the file and {after:g} by the plan")


def _alpha(tensors: Tensors, scaled: bool) -> float:
    """Return a layer's alpha over its rank, and as it is where it is no scale."""
    if not scaled:
        return float(tensors["alpha"]) if "alpha" in tensors else 0.0
    rank = rank_of({suffix: tuple(tensor.shape) for suffix, tensor in tensors.items()})
    return 1.0 if rank is None else gamma(tensors.get("alpha"), rank)  # whole factors are not scaled


def _filled(begun: TrainableAdapter, layer: TrainedLayer, found: Mapping[str, Tensor]) -> Tensors:
    return {
        suffix: own
        if suffix in FIXED - SEEDED_MATRICES
        else found[suffix].detach().reshape(own.shape).to(own.device, torch.float32, copy=True)
        for suffix, own in begun.tensors[layer].items()
    }
