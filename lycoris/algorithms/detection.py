"""From the tensors of one module to its changes: the algorithm is chosen here, layer by layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from lycoris.algorithms import OF_BIASES, OF_WEIGHTS, OVER_OTHERS, UNDER_DORA
from lycoris.algorithms.bias import LoRABias
from lycoris.algorithms.change import SETTINGS, WHOLE, Change
from lycoris.algorithms.ia3 import PeftIA3, PeftIA3Bias
from lycoris.algorithms.lora import LoRA
from lycoris.errors import Code
from lycoris.kernels.linalg import finite


class Problem(NamedTuple):
    """A fault of a group, whose module the caller adds."""

    code: Code
    suffix: str | None  # of the tensor at fault; None: the group
    message: str


@dataclass(frozen=True)
class Group:
    """The changes read from the tensors of one module, or their faults."""

    changes: Mapping[str, Change]  # parameter ("weight", "bias") -> its change
    problems: tuple[Problem, ...]


def read_group(tensors: Mapping[str, Tensor]) -> Group:
    """Return the changes of a module's tensors, given by suffix; a tensor that no change reads is a problem."""
    problems = list(_bad_values(tensors))
    changes: dict[str, Change] = {}
    names = frozenset(tensors)
    used: set[str] = set()

    algorithm = next((algorithm for algorithm in OF_WEIGHTS if algorithm.claims(tensors)), None)
    if algorithm is not None:
        used |= names & set(algorithm.SUFFIXES)
        missing = algorithm.missing(names)
        problems += [Problem(Code.INCOMPLETE, None, _missing(suffix)) for suffix in missing]
        if not missing:
            changes["weight"] = algorithm.read(tensors)
    layer = changes.get("weight")
    magnitudes = names & OVER_OTHERS.SIGNS
    if magnitudes and isinstance(layer, UNDER_DORA):
        used |= magnitudes
        changes["weight"] = OVER_OTHERS(layer=layer, **{suffix: tensors[suffix] for suffix in magnitudes})
    bias = _bias(tensors, layer)
    if bias is not None:
        used |= names & bias.SIGNS
        changes["bias"] = bias

    layer_kind = f" in a layer of {algorithm.__name__}" if algorithm else ""
    for suffix in sorted(names - used):
        problems.append(Problem(Code.UNKNOWN_TENSOR, suffix, f"is read by nothing{layer_kind}"))
    if not problems:
        problems = [Problem(Code.BAD_SHAPE, None, text) for change in changes.values() for text in change.problems()]
    return Group(changes, tuple(problems))


def _bias(tensors: Mapping[str, Tensor], layer: Change | None) -> Change | None:
    algorithm = next((algorithm for algorithm in OF_BIASES if algorithm.claims(tensors)), None)
    if algorithm is LoRABias:
        return LoRABias(bias=tensors["lora_B.bias"], lora=layer) if isinstance(layer, LoRA) else None
    if isinstance(layer, PeftIA3) and algorithm is None:
        return PeftIA3Bias(layer=layer) if 0 in layer.axes(None) else None
    return algorithm.read(tensors) if algorithm else None


def _missing(suffix: str) -> str:
    if suffix in SETTINGS:
        return f"cannot be computed without {suffix}, which PEFT keeps in adapter_config.json: send the folder, zipped"
    if suffix in ("vera_A", "vera_B"):
        return f"has no {suffix}: PEFT left it out, and a seed does not give the same values everywhere"
    return f"is incomplete: {suffix} is missing"


def _bad_values(tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    for suffix, tensor in tensors.items():
        if not tensor.is_floating_point() and suffix not in WHOLE:
            kind = str(tensor.dtype).removeprefix("torch.")
            yield Problem(Code.BAD_DTYPE, suffix, f"has dtype {kind}")
        # Tested in float32, in which it will be used: a float64 beyond that range becomes infinite.
        elif not finite(tensor.float()):
            yield Problem(Code.NOT_FINITE, suffix, "holds NaN or infinity")
