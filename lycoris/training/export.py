"""A trained adapter as one safetensors file that this library and other tools read: names, scales and metadata."""

import json
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from lycoris.adapter import Adapter, load
from lycoris.algorithms.change import SCALARS, Change, gamma
from lycoris.algorithms.lora import LoRA
from lycoris.dialects.suffixes import MAGNITUDE
from lycoris.errors import Code, NoPlace, PlanRefused, Reason
from lycoris.files.stable_bytes import stable_bytes
from lycoris.placement.resolve import resolve
from lycoris.tools.names import FileLayer, Namer
from lycoris.training.continuing import plan_entry
from lycoris.training.place import Tensors
from lycoris.training.reach import TrainedLayer
from lycoris.training.trainable import FIXED, TrainableAdapter

Naming = Literal["kohya", "diffusers"]
FILE_WIDE = {"vera_A": "base_model.vera_A", "vera_B": "base_model.vera_B"}  # as PEFT names them
LORA_MODULE, LYCORIS_MODULE = "networks.lora", "lycoris.kohya"
LYCORIS_NAMES = {"oft": "diag-oft", "dora": "locon"}  # where LyCORIS calls an algorithm otherwise
LYCORIS_OPTIONS = {  # and an option
    "tucker": "use_tucker",
    "rank_stabilised": "rs_lora",
    "conv_rank": "conv_dim",
    "on_input": "train_on_input",
}


def export(
    adapter: TrainableAdapter,
    naming: Naming = "kohya",
    metadata: Mapping[str, str] | None = None,
    factors: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> bytes:
    """Return the adapter as a file, the same bytes for the same numbers.

    naming: "kohya" (`lora_unet_…`, which ComfyUI reads too), with one alpha for each layer; "diffusers"
    (`unet.….lora_A.weight`), with the scale in `lora_B` and no alpha, since PEFT takes it from elsewhere. metadata:
    entries for the header beside those of the algorithm, and no clock time. factors: in place of the adapter's own,
    such as their moving average. dtype: of the factors; a training goes on with the same numbers from float32 alone.
    The file is read back: raises PlanRefused where anything of it would not be read, or not into the trained layers,
    and where a factor is larger than the dtype holds.
    """
    given = adapter.factors | dict(factors or {})
    namer = Namer(naming, adapter.shapes)
    tensors: dict[str, Tensor] = {}
    for layer, named in _names(namer, adapter.layers).items():
        group = {s: given.get(f"{layer.name}.{s}", tensor) for s, tensor in adapter.tensors[layer].items()}
        _refuse_overflow(layer, group, dtype)
        tensors |= {
            name: _stored(suffix, group.pop(suffix), dtype) for suffix, name in FILE_WIDE.items() if suffix in group
        }
        if naming == "diffusers":
            group = _for_peft(layer, group)
        stored = {suffix: _stored(suffix, tensor, dtype) for suffix, tensor in group.items()}
        tensors |= namer.named(named, stored)
    data = stable_bytes(tensors, dict(metadata or {}) | network_metadata(adapter))
    _check(load(data), adapter)
    return data


def network_metadata(adapter: TrainableAdapter) -> dict[str, str]:
    """Return the header's entries about the algorithm, by kohya's names."""
    plan = adapter.plan
    arguments = {} if plan.algorithm == "lora" else {"algo": LYCORIS_NAMES.get(plan.algorithm, plan.algorithm)}
    arguments |= {
        LYCORIS_OPTIONS.get(name, name): str(value)
        for name, value in plan.options.items()
        if value is not None and value is not False
    }
    entries = {
        "ss_network_module": LORA_MODULE if plan.algorithm == "lora" else LYCORIS_MODULE,
        "ss_network_args": json.dumps(arguments, sort_keys=True),
        "modelspec.sai_model_spec": "1.0.0",
    } | plan_entry(plan)
    if plan.rank is not None:
        entries["ss_network_dim"] = str(plan.rank)
    if plan.alpha is not None:
        entries["ss_network_alpha"] = str(plan.alpha)
    return entries


def _names(namer: Namer, layers: tuple[TrainedLayer, ...]) -> dict[TrainedLayer, FileLayer]:
    """Return each layer's name in the file: by the model's authors if each has one of its own there, else diffusers'.

    The authors' file may have one layer where the model has three; factors trained apart are not put together.
    """
    apart = {layer: namer.separate(layer.component, f"{layer.path}.weight") for layer in layers}
    theirs = {layer: namer.layer(layer.component, f"{layer.path}.weight") for layer in layers}
    split = {layer.component for layer in layers if theirs[layer].rows != apart[layer].rows}
    return {layer: apart[layer] if layer.component in split else theirs[layer] for layer in layers}


def _for_peft(layer: TrainedLayer, group: Tensors) -> Tensors:
    """Return a layer's tensors as PEFT has them: of a LoRA, the scale in the factors and the magnitude as a vector."""
    if "lora_up.weight" not in group:
        return group
    if "lora_mid.weight" in group:
        message = "has a Tucker core, for which PEFT has no name: take kohya's naming"
        raise PlanRefused([Reason(Code.NO_FORM, layer.name, message)])
    alpha, down = group.pop("alpha", None), group["lora_down.weight"]
    group["lora_up.weight"] = group["lora_up.weight"].detach() * gamma(alpha, len(down))
    if "dora_scale" in group:
        magnitude = group.pop("dora_scale").detach()
        group[MAGNITUDE] = magnitude.flatten() if len(layer.shape) == 2 else magnitude.transpose(0, 1)
    return group


def _stored(suffix: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = dtype if suffix not in FIXED - {"vera_A", "vera_B"} else tensor.dtype
    return tensor.detach().to("cpu", cast).contiguous().clone()


def _refuse_overflow(layer: TrainedLayer, group: Tensors, dtype: torch.dtype) -> None:
    """Raise PlanRefused for values over the largest that a dtype holds."""
    most = f"{str(dtype).removeprefix('torch.')} to {torch.finfo(dtype).max:g}: keep float32"
    reasons = [
        Reason(Code.NO_FORM, f"{layer.name}.{suffix}", f"goes up to {float(tensor.detach().abs().max()):g}, and {most}")
        for suffix, tensor in group.items()
        if not bool(_stored(suffix, tensor, dtype).isfinite().all())
    ]
    if reasons:
        raise PlanRefused(reasons)


def _check(read: Adapter, adapter: TrainableAdapter) -> None:
    """Raise PlanRefused unless a file's layers are exactly those that were trained, changed by the same scale."""
    try:
        targets = resolve(read, adapter.shapes).targets
    except NoPlace as error:
        raise PlanRefused(error.reasons) from error
    found = {(target.component, target.parameter): target.change for target in targets}
    trained = {
        (target.component, target.parameter): target.change
        for target in resolve(adapter.adapter, adapter.shapes).targets
    }
    reasons = [Reason(Code.NO_MODULE, ".".join(key), "is not read back") for key in trained.keys() ^ found.keys()]
    for key in trained.keys() & found.keys():
        reasons += _differing(".".join(key), trained[key], found[key])
    if reasons:
        raise PlanRefused(reasons)


def _differing(name: str, trained: Change, found: Change) -> Iterator[Reason]:
    if trained.name != found.name:
        yield Reason(Code.NO_FORM, name, f"was trained as {trained.name} and is read back as {found.name}")
    same = not isinstance(trained, LoRA) or not isinstance(found, LoRA) or not SCALARS & found.tensors().keys()
    if not same and abs(trained.gamma - found.gamma) > 1e-6 * abs(trained.gamma):  # type: ignore[union-attr]
        yield Reason(Code.NO_FORM, name, "is read back at another scale")
