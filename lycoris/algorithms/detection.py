"""From the tensors of one module to what they change: the algorithm is chosen here, layer by layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from lycoris.algorithms import OF_BIASES, OF_WEIGHTS, UNDER_DORA
from lycoris.algorithms.bias import LoRABias
from lycoris.algorithms.change import SCALARS, Change
from lycoris.algorithms.dora import DoRA
from lycoris.algorithms.lora import LoRA
from lycoris.errors import Code

Problem = tuple[Code, str]  # what is wrong with a group, before anyone says which module it is of


@dataclass(frozen=True)
class Group:
    """What was read from the tensors of one module: the change of each parameter, or what is wrong with them."""

    changes: Mapping[str, Change]  # parameter ("weight", "bias") -> its change
    problems: tuple[Problem, ...]


def read_group(tensors: Mapping[str, Tensor]) -> Group:
    """Return what a module's tensors, by suffix, change; a tensor that no change reads is a problem."""
    problems: list[Problem] = list(_bad_numbers(tensors))
    changes: dict[str, Change] = {}
    names = frozenset(tensors)
    weight = next((algorithm for algorithm in OF_WEIGHTS if algorithm.SIGNS & names), None)
    used: set[str] = set()
    if weight is not None:
        missing = weight.missing(names)
        used |= names & set(weight.SUFFIXES)
        if missing:
            problems.append((Code.INCOMPLETE, f"{weight.__name__} is half written: {', '.join(missing)} is missing"))
        else:
            changes["weight"] = weight.read(tensors)
    if names & DoRA.SIGNS and "weight" in changes and isinstance(changes["weight"], UNDER_DORA):
        used |= names & DoRA.SIGNS
        magnitudes = {suffix: tensors[suffix] for suffix in DoRA.SIGNS & names}
        changes["weight"] = DoRA(layer=changes["weight"], **magnitudes)
    for bias in OF_BIASES:
        if bias.SIGNS & names and "bias" not in changes:
            read = _bias(bias, tensors, changes.get("weight"))
            if read is not None:
                changes["bias"] = read
                used |= bias.SIGNS & names
    problems += [(Code.UNKNOWN_TENSOR, _left_over(suffix, weight)) for suffix in sorted(names - used)]
    if not problems:
        problems += [(Code.BAD_SHAPE, problem) for change in changes.values() for problem in change.problems()]
    return Group(changes, tuple(problems))


def _bias(kind: type[Change], tensors: Mapping[str, Tensor], weight: Change | None) -> Change | None:
    if kind is not LoRABias:
        return kind.read(tensors)
    lora = weight.layer if isinstance(weight, DoRA) else weight
    return LoRABias(bias=tensors["lora_B.bias"], gamma=lora.gamma) if isinstance(lora, LoRA) else None


def _left_over(suffix: str, weight: type[Change] | None) -> str:
    return f"{suffix} is read by nothing here" + (f" beside {weight.__name__}" if weight else "")


def _bad_numbers(tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    for suffix, tensor in tensors.items():
        if not tensor.is_floating_point() and suffix not in SCALARS:
            yield Code.BAD_DTYPE, f"{suffix} is made of {str(tensor.dtype).removeprefix('torch.')} numbers"
        # In float32, as it will be used: a float64 beyond its range is as bad as infinity.
        elif not bool(tensor.float().isfinite().all()):
            yield Code.NOT_FINITE, f"{suffix} holds NaN or infinity"
