"""`convert --to-lora`: any change of a matrix or a kernel as a LoRA, and what that costs."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lycoris.adapter import Adapter
from lycoris.algorithms.change import Change
from lycoris.algorithms.full import Full, FullBias
from lycoris.algorithms.lora import LoRA
from lycoris.files.model_folder import Copy, shapes_of
from lycoris.placement.resolve import module_of
from lycoris.stack import StackEntry
from lycoris.tools.dense import Group, groups, leans_on_weight
from lycoris.tools.lowrank import Budget, Loss, of_matrix
from lycoris.tools.names import Namer, Style
from lycoris.tools.progress import Progress, silent
from lycoris.tools.regroup import Held, spoken, whole
from lycoris.tools.writing import Draft, as_lora, metadata_of, widest


def to_lora(
    adapter: Adapter,
    copies: Mapping[str, tuple[Copy, ...]],
    budget: Budget,
    style: Style = "kohya",
    dtype: torch.dtype | None = None,
    told: Progress[Group] = silent,
) -> tuple[Draft, list[Loss], list[str]]:
    """Return the adapter as a LoRA of the rank, what every layer lost by it, and notes for the user.

    A LoRA within the rank stays as it is. Biases and norms, which have no rank, are kept whole (`diff`, `diff_b`).
    A change that leans on the weight (DoRA, OFT, …) is taken as it is on this model at strength 1; a note says so.
    """
    shapes = shapes_of(copies)
    dtype = dtype or widest(
        t for layer in adapter.layers for change in layer.changes.values() for t in change.tensors().values()
    )
    changes: list[Held] = []
    losses: list[Loss] = []
    leaning: set[str] = set()
    for group in told(groups([StackEntry(adapter)], shapes), "to LoRA"):
        small = _small_enough(group, budget)
        if small is not None:
            (parameter,) = group.parameters
            changes.append(whole(group.component, parameter, small, shapes))
            continue
        leaning |= {
            one.target.change.name for one in group.changes if leans_on_weight(one.target.change, one.target.view.shape)
        }
        copy = copies[group.component][0]
        for parameter, change in group.change({name: copy.stored[name].read() for name in group.parameters}).items():
            if change.ndim < 2:
                found = as_it_is(parameter, change.to(dtype))
            else:
                found, loss = approximate(change, budget, dtype, f"{group.component}.{parameter}")
                losses.append(loss)
            changes.append(whole(group.component, parameter, found, shapes))
    tensors, notes = spoken(changes, Namer(style, shapes))
    ranks = [len(tensor) for name, tensor in tensors.items() if name.endswith((".lora_down.weight", ".lora_A.weight"))]
    done = {"tool": "convert", "to": "lora", "rank": budget.rank, "energy": budget.energy, "of": adapter.sha256}
    metadata = as_lora(metadata_of(adapter.metadata, **done), ranks)
    differences = sum(name.endswith((".diff", ".diff_b")) for name in tensors)
    notes += _notes(adapter, leaning, differences if style == "diffusers" else 0)
    return Draft(tensors, metadata), losses, notes


def as_it_is(parameter: str, change: Tensor) -> Change:
    """Return the change of a norm's weight or of a bias, which no factors would make smaller."""
    return (Full if module_of(parameter)[1] == "weight" else FullBias)(stored=change)


def approximate(change: Tensor, budget: Budget, dtype: torch.dtype, layer: str) -> tuple[LoRA, Loss]:
    """Return the LoRA or LoCon nearest to a change (o, i, *k), stored in a dtype, and what was lost with both."""
    matrix = change.flatten(1).float()
    up, down = (factor.to(dtype) for factor in of_matrix(matrix, budget))
    rank, kernel = len(down), change.shape[2:]
    lost = torch.linalg.vector_norm(matrix - up.float() @ down.float(), dtype=torch.float64)
    size = torch.linalg.vector_norm(matrix, dtype=torch.float64)
    lora = LoRA(
        lora_up=up.reshape(len(change), rank, *(1 for _ in kernel)),
        lora_down=down.reshape(rank, *change.shape[1:]),
        alpha=torch.tensor(float(rank)),
    )
    return lora, Loss(layer, rank, float(size), float(lost))


def _small_enough(group: Group, budget: Budget) -> LoRA | None:
    """Return the one LoRA of a group if it needs no approximation."""
    (target, _, _), *others = group.changes
    change = target.change
    if others or not target.view.whole or not isinstance(change, LoRA) or budget.energy is not None:
        return None
    plain = not {"lora_mid.weight", "bias_values"} & change.tensors().keys()
    return change if plain and (budget.rank is None or change.rank <= budget.rank) else None


def _notes(adapter: Adapter, leaning: Iterable[str], not_worn: int) -> Iterable[str]:
    if not_worn:
        yield f"diffusers itself wears LoRA only, not the {not_worn} biases and norms of this file"
    if leaning:
        names = ", ".join(sorted(leaning))
        yield f"{names}: what it changes depends on the weight, so this LoRA is for this model, best at strength 1"
    if adapter.embeddings:
        yield f"embeddings are left out: {', '.join(sorted(adapter.embeddings))}"
