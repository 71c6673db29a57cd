"""`resize`: a LoRA or LoCon of a smaller rank, under the same names."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapter import Adapter, Layer, oriented, parsed_name
from lycoris.algorithms.lora import LoRA
from lycoris.dialects.header_config import SCALE_KEYS
from lycoris.errors import Code, Reason, ToolRefused
from lycoris.files.peft_folder import CONFIG, open_bundle
from lycoris.files.safetensors_file import FILE_CAP, tensors_of
from lycoris.kernels.linalg import matrix, tucker
from lycoris.tools.lowrank import Budget, Loss, distance, of_product, size_of_product
from lycoris.tools.progress import Progress, silent
from lycoris.tools.writing import Draft, metadata_of, widest

UP, DOWN, MID, ALPHA = "lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha"
Names = Mapping[str, str]  # suffix -> the name that the file gives the tensor


def resize(
    adapter: Adapter,
    stored: Mapping[str, Tensor],
    budget: Budget,
    dtype: torch.dtype | None = None,
    progress: Progress[Layer] = silent,
) -> tuple[Draft, list[Loss], list[str]]:
    """Return the adapter with its LoRA layers at a lower rank, what each lost, and notes for the user.

    stored: the file's own tensors by name; tensors of other layers stay as they are there. alpha/rank of every layer
    stays, so that a strength means the same as before. A Tucker core goes into lora_down. Layers within the rank and
    layers of other algorithms stay as they are. Raises ToolRefused if there is nothing to resize.
    """
    elsewhere = [key for key in SCALE_KEYS if key in adapter.metadata]
    if elsewhere:
        raise _scaled_elsewhere(", ".join(elsewhere))
    names = _by_layer(stored)
    loras = [layer for layer in adapter.layers if isinstance(layer.changes.get("weight"), LoRA)]
    if not loras:
        message = f"there is no LoRA in it, only {', '.join(adapter.algorithms)}: convert it with --to-lora"
        raise ToolRefused([Reason(Code.NO_FORM, "", message)])
    tensors, losses = dict(stored), []
    for layer in progress(loras, "resizing"):
        change = layer.changes["weight"]
        assert isinstance(change, LoRA)
        if budget.energy is not None or budget.rank is None or change.rank > budget.rank:
            losses.append(_resize(layer.name, change, names[layer.components, layer.module], budget, dtype, tensors))
    done = {"tool": "resize", "rank": budget.rank, "energy": budget.energy, "of": adapter.sha256}
    metadata = metadata_of(adapter.metadata, **done)
    return Draft(tensors, _with_dim(metadata, loras, losses)), losses, list(_notes(adapter, loras))


def stored_in(source: str | os.PathLike[str]) -> Mapping[str, Tensor]:
    """Return the tensors of an adapter file under its own names; raise ToolRefused for PEFT's folders and zips."""
    bundle = open_bundle(source, FILE_CAP)
    if bundle.config is not None:
        raise _scaled_elsewhere(CONFIG)
    return tensors_of(bundle.weights)


def _scaled_elsewhere(where: str) -> ToolRefused:
    message = "has the scale of the layers, which is not among the tensors: convert it first"
    return ToolRefused([Reason(Code.NO_FORM, where, message)])


def _resize(
    name: str, change: LoRA, names: Names, budget: Budget, dtype: torch.dtype | None, tensors: dict[str, Tensor]
) -> Loss:
    """Replace the factors of one layer by smaller ones; return the loss."""
    up, down = matrix(change.lora_up.float()), change.lora_down.float()
    if change.lora_mid is not None:
        down = tucker(change.lora_mid.float(), torch.eye(up.shape[1]), matrix(down))  # (r, i, *k)
    kept = dtype or widest([change.lora_up, change.lora_down])
    small_up, small_down = (factor.to(kept) for factor in of_product(up, matrix(down), budget))
    rank = len(small_down)
    tensors[names[UP]] = oriented(names[UP], small_up.reshape(len(up), rank, *change.lora_up.shape[2:]))
    tensors[names[DOWN]] = oriented(names[DOWN], small_down.reshape(rank, *down.shape[1:]))
    if ALPHA in names and change.scale is None:
        tensors[names[ALPHA]] = torch.tensor(change.gamma * rank, dtype=torch.float32)
    if MID in names:
        del tensors[names[MID]]
    size, gamma = size_of_product(up, matrix(down)), abs(change.gamma)
    return Loss(name, rank, gamma * size, gamma * distance(up, matrix(down), small_up, small_down))


def _by_layer(stored: Mapping[str, Tensor]) -> dict[tuple[tuple[str, ...], str], dict[str, str]]:
    found: dict[tuple[tuple[str, ...], str], dict[str, str]] = defaultdict(dict)
    for name in stored:
        parsed = parsed_name(name)
        if parsed is not None:
            found[parsed.components, parsed.module][parsed.suffix] = name
    return found


def _with_dim(metadata: Mapping[str, str], loras: list[Layer], losses: list[Loss]) -> dict[str, str]:
    """Return the metadata with kohya's dim and alpha brought up to date, where it has them."""
    highest = max((loss.rank for loss in losses), default=0)
    gammas = {change.gamma for layer in loras if isinstance(change := layer.changes["weight"], LoRA)}
    words = {"ss_network_dim": str(highest), "ss_network_alpha": str(max(gammas) * highest)}
    return dict(metadata) | {key: text for key, text in words.items() if key in metadata and highest}


def _notes(adapter: Adapter, loras: list[Layer]) -> list[str]:
    others = Counter(adapter.algorithms) - Counter(layer.algorithm for layer in loras)
    return [f"kept as they are: {', '.join(f'{name} {count}' for name, count in others.items())}"] if others else []
