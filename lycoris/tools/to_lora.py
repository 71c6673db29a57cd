"""`convert --to-lora`: any change of a matrix or a kernel as a LoRA, with the loss of every layer."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lycoris.adapter import Adapter
from lycoris.algorithms.change import Change
from lycoris.algorithms.full import Full, FullBias
from lycoris.algorithms.lora import LoRA
from lycoris.files.model_folder import Variant, default_shapes
from lycoris.placement.resolve import split_parameter
from lycoris.stack import StackEntry
from lycoris.tools.dense import ParameterGroup, depends_on_weight, groups
from lycoris.tools.lowrank import Budget, Loss, of_matrix
from lycoris.tools.names import Namer, Style
from lycoris.tools.progress import Progress, silent
from lycoris.tools.regroup import PlacedChange, placed_change, to_state_dict
from lycoris.tools.writing import Draft, as_lora, metadata_of, widest


def to_lora(
    adapter: Adapter,
    variants: Mapping[str, tuple[Variant, ...]],
    budget: Budget,
    style: Style = "kohya",
    dtype: torch.dtype | None = None,
    progress: Progress[ParameterGroup] = silent,
) -> tuple[Draft, list[Loss], list[str]]:
    """Return the adapter as a LoRA of the rank, the loss of every layer, and notes for the user.

    A LoRA within the rank stays as it is. Biases and norms, which have no rank, are kept in full (`diff`, `diff_b`).
    A change that depends on the weight (DoRA, OFT, …) is computed for this model at strength 1, with a note.
    """
    shapes = default_shapes(variants)
    dtype = dtype or widest(
        t for layer in adapter.layers for change in layer.changes.values() for t in change.tensors().values()
    )
    changes: list[PlacedChange] = []
    losses: list[Loss] = []
    dependent: set[str] = set()
    for group in progress(groups([StackEntry(adapter)], shapes), "to LoRA"):
        small = _small_enough(group, budget)
        if small is not None:
            (parameter,) = group.parameters
            changes.append(placed_change(group.component, parameter, small, shapes))
            continue
        dependent |= {
            one.target.change.name
            for one in group.changes
            if depends_on_weight(one.target.change, one.target.view.shape)
        }
        variant = variants[group.component][0]
        for parameter, change in group.change({name: variant.spans[name].read() for name in group.parameters}).items():
            if change.ndim < 2:
                found = as_it_is(parameter, change.to(dtype))
            else:
                found, loss = approximate(change, budget, dtype, f"{group.component}.{parameter}")
                losses.append(loss)
            changes.append(placed_change(group.component, parameter, found, shapes))
    tensors, notes = to_state_dict(changes, Namer(style, shapes))
    ranks = [len(tensor) for name, tensor in tensors.items() if name.endswith((".lora_down.weight", ".lora_A.weight"))]
    done = {"tool": "convert", "to": "lora", "rank": budget.rank, "energy": budget.energy, "of": adapter.sha256}
    metadata = as_lora(metadata_of(adapter.metadata, **done), ranks)
    differences = sum(name.endswith((".diff", ".diff_b")) for name in tensors)
    notes += _notes(adapter, dependent, differences if style == "diffusers" else 0)
    return Draft(tensors, metadata), losses, notes


def as_it_is(parameter: str, change: Tensor) -> Change:
    """Return the change of a norm's weight or of a bias in full: factors would not be smaller."""
    return (Full if split_parameter(parameter)[1] == "weight" else FullBias)(stored=change)


def approximate(change: Tensor, budget: Budget, dtype: torch.dtype, layer: str) -> tuple[LoRA, Loss]:
    """Return the LoRA or LoCon nearest to a change (o, i, *k), stored in a dtype, and the loss by rank and dtype."""
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


def _small_enough(group: ParameterGroup, budget: Budget) -> LoRA | None:
    """Return the one LoRA of a group if it needs no approximation."""
    first, *others = group.changes
    target, change = first.target, first.target.change
    if others or not target.view.whole or not isinstance(change, LoRA) or budget.energy is not None:
        return None
    plain = not {"lora_mid.weight", "bias_values"} & change.tensors().keys()
    return change if plain and (budget.rank is None or change.rank <= budget.rank) else None


def _notes(adapter: Adapter, dependent: Iterable[str], not_applied: int) -> Iterable[str]:
    if not_applied:
        yield f"diffusers itself applies only LoRA, not the {not_applied} biases and norms of this file"
    if dependent:
        names = ", ".join(sorted(dependent))
        yield f"{names}: the change depends on the weight, so this LoRA is for this model, best at strength 1"
    if adapter.embeddings:
        yield f"embeddings are left out: {', '.join(sorted(adapter.embeddings))}"
