"""The tree of exceptions, and the codes of reasons.

    AdapterError          a request cannot be carried out exactly, and nothing was done instead
    ├── FileRefused       the file itself: its header, its names, its layers
    ├── NoPlace           the file is sound, but this model has no place for some of it
    ├── StackRefused      the adapters are sound, but cannot be applied together, or not at these strengths
    ├── NeverCalled       a bypass did not reach a layer: the model computes with its weight without calling it
    ├── ModelChanged      the live model was moved, cast or rebuilt while adapters were applied
    ├── ToolRefused       a tool cannot write a result, or not at the given place
    └── PlanRefused       an adapter cannot be trained as it was asked for

Every error carries all of its reasons at once, so that one upload shows everything that is wrong with a file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SHOWN = 20  # reasons spelled out in the text of an error; `reasons` holds every one of them
LISTED = 200  # reasons in an error's data: above the layers of one kind in most adapters, below those of a whole model
NAME_CAP = 200  # characters of a name from outside that a reason repeats


class Code(StrEnum):
    """Why something was refused: stable words, fit for the wire."""

    UNREADABLE = "unreadable"  # no such file, or the system does not allow reading it
    NOT_SAFETENSORS = "not_safetensors"  # another format, or a pickle
    TOO_LARGE = "too_large"  # over a cap: file, header, number of tensors
    TRUNCATED = "truncated"  # the file ends before the header's last byte
    BAD_HEADER = "bad_header"  # not the JSON of the format
    BAD_NAME = "bad_name"  # a tensor name that no trainer would write
    DUPLICATE = "duplicate"  # two tensors of one name, or two layers for the same rows
    BAD_DTYPE = "bad_dtype"  # a dtype that no factor has
    BAD_SHAPE = "bad_shape"  # an empty, absurd or inconsistent shape
    BAD_OFFSETS = "bad_offsets"  # bytes that overlap, leave holes or do not match the shape
    BAD_METADATA = "bad_metadata"  # metadata that changes the meaning of the file and cannot be read
    NOT_FINITE = "not_finite"  # NaN or infinity, in the file or after merging
    UNKNOWN_TENSOR = "unknown_tensor"  # a tensor that nothing here reads
    INCOMPLETE = "incomplete"  # a layer with a tensor missing
    EMPTY = "empty"  # no layer at all
    NO_COMPONENT = "no_component"  # the model has no such component
    NO_MODULE = "no_module"  # the component has no such module
    AMBIGUOUS = "ambiguous"  # the name fits more than one module
    NO_BIAS = "no_bias"  # a change to a bias that the module does not have
    MISFIT = "misfit"  # the layer is not of the shape of the weight
    REPEATED_ADAPTER = "repeated_adapter"  # the same file twice in one stack
    BAD_STRENGTH = "bad_strength"  # not a finite number, or for a component that the adapter does not change
    MODEL_CHANGED = "model_changed"  # the live weights are not the ones that were patched
    EXISTS = "exists"  # a tool's output exists already, or may not be replaced
    UNWRITABLE = "unwritable"  # the system does not allow a tool to write
    NOT_CALLED = "not_called"  # a bypassed layer that its model did not call
    NO_FORM = "no_form"  # the contents have no representation in the requested form
    BAD_OPTION = "bad_option"  # a value for training that the algorithm has no use for, or that is out of range


@dataclass(frozen=True)
class Reason:
    """One thing that is wrong: a stable code, the name it is about (tensor, module or component), and a sentence."""

    code: Code
    subject: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return the reason as JSON-ready data."""
        return {"code": str(self.code), "subject": self.subject, "message": self.message}

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}" if self.subject else self.message


class AdapterError(Exception):
    """Something was refused; `reasons` has every reason."""

    def __init__(self, reasons: Iterable[Reason]) -> None:
        self.reasons: tuple[Reason, ...] = tuple(reasons)
        super().__init__(_text(self.reasons))

    @property
    def listed(self) -> list[dict[str, str]]:
        """The reasons as JSON-ready data: at most LISTED (a whole model may be sent by mistake), and how many more."""
        found = [reason.as_dict() for reason in self.reasons[:LISTED]]
        if len(self.reasons) > LISTED:
            last = self.reasons[-1]
            found.append(Reason(last.code, "", f"and {len(self.reasons) - LISTED:,} more").as_dict())
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready data: the name of its class and its reasons."""
        return {"error": type(self).__name__, "reasons": self.listed}


class FileRefused(AdapterError):
    """The file is not an adapter that can be applied exactly."""


class NoPlace(AdapterError):
    """The model lacks a module that the adapter changes, or has it in a different shape."""


class StackRefused(AdapterError):
    """The stack cannot be applied: an adapter twice, a strength that is no number, a result that is not finite."""


class NeverCalled(AdapterError):
    """A model ran without calling a layer that has a bypass: whether it read the weight in another way is not known."""


class ModelChanged(AdapterError):
    """The live model's weights were replaced, and not by the patcher."""


class ToolRefused(AdapterError):
    """A tool cannot write its output: the path is taken, or the format cannot hold it."""


class PlanRefused(AdapterError):
    """An adapter cannot be trained so: an option without meaning, no layer to train, a file that does not fit."""


def shown(name: str) -> str:
    """Return a name from outside fit for a message: one line, printable, at most 200 characters."""
    clipped = name if len(name) <= NAME_CAP else name[:NAME_CAP] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in clipped)


def _text(reasons: Sequence[Reason]) -> str:
    lines = [str(reason) for reason in reasons[:SHOWN]]
    if len(reasons) > SHOWN:
        lines.append(f"and {len(reasons) - SHOWN} more")
    return "\n".join(lines)


def not_finite(names: Iterable[str]) -> StackRefused:
    """Return the refusal of a stack that makes these weights or layers infinite or NaN."""
    message = "is not finite any more with this stack"
    return StackRefused([Reason(Code.NOT_FINITE, name, message) for name in names])
