"""The contract of every algorithm: `add_change`, and what an algorithm must say about itself.

| a subclass writes | when |
|---|---|
| `SUFFIXES`, `SIGNS`, `name`, `shape`, `problems` | always |
| `add_change` | its change can only be computed for all rows at once |
| `prepare` in place of it (a `ByRows`), and `PreparedChange.add` | any rows can be computed alone: fast |
| `PreparedChange.row_multiple` | its rows can only be computed in groups of this many |
| `PreparedChange.apply` | W₀ + change can be written in one pass |
| `PreparedChange.bound` | the largest element of the change is bounded by its factors: saves a test for infinities |
| `misfit` | `shape` leaves an axis open (`ANY`), or its shape alone does not decide |
| `doubts`, `rank`, `unscaled`, `first_ranks`, `OPTIONAL` | they apply |
| `claims` | the names in `SIGNS` do not suffice to recognise it |
| `needs_weight`, `with_weight`, `misfit_with_weight` | it changes a bias and is computed from the weight too |
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from math import isfinite, prod
from typing import Any, ClassVar, Self

from torch import Size, Tensor

from lycoris.kernels.linalg import fits
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import NO_REUSE, Scratch

RANK_FLOOR = 1024  # trainers give every layer the same rank, even small ones: no rank up to this is implausible
SCALARS = frozenset({"alpha", "scale"})  # fields with one element, which may be stored as an integer
SETTINGS = frozenset(  # fields with one element that PEFT stores in adapter_config.json, and that are tensors here
    {"neumann_terms", "apply_GS", "fourierft_scaling", "random_loc_seed", "is_feedforward"}
)
WHOLE = SCALARS | SETTINGS | {"on_input", "bias_indices", "bias_size"}  # fields that may be stored as integers
NEEDS_ITS_BASE = "its change is computed from the weight itself: right only on the model it was trained on"  # a doubt
ANY = -1  # an axis of `shape` that the factors leave open


class Change(ABC):
    """The change that one adapter makes to one parameter (a weight or a bias): named tensors and `add_change`.

    Subclasses are frozen dataclasses. SUFFIXES maps the names in a file to their fields, in the file's order; a group
    of tensors with any name of SIGNS in it belongs to the class.
    """

    SUFFIXES: ClassVar[Mapping[str, str]]
    SIGNS: ClassVar[frozenset[str]]
    OPTIONAL: ClassVar[bool] = False  # skipped rather than refused if the module has no such parameter

    @abstractmethod
    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        """Add F(pristine; strength) − pristine to `change`, in place.

        change: float32, contiguous, of pristine's shape. pristine: any float dtype, never written to.
        At strength 0 nothing is added, at 1 the change as trained. Differentiable in the factors.
        """

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        """Return the change prepared for a weight; by default it is computed for all rows at once.

        scratch: for intermediate results; the prepared change keeps none of it.
        """
        del scratch
        return _AllRows(self, weight.shape[0])

    @property
    def needs_weight(self) -> bool:
        """True if a change of a bias is computed from the layer's weight too: then `with_weight` must come first."""
        return False

    def with_weight(self, weight: Tensor) -> "Change":
        """Return the change of a bias (o,) given the layer's pristine weight (o, i, …), computed in float32."""
        del weight
        return self

    def misfit_with_weight(self, weight: Size | tuple[int, ...]) -> str | None:
        """Say why the change of a bias cannot be computed from a weight of this shape, or None."""
        del weight
        return None

    def first_ranks(self, count: int) -> "Change":
        """Return the change of the first ranks alone, as DyLoRA trains them (Valipour 2022, arXiv 2210.07558).

        Raises ValueError, with a sentence, where that is undefined: where ranks have no order, or a magnitude or a
        residual belongs to all of them together.
        """
        del count
        raise ValueError(f"the first ranks of {self.name} mean nothing: it was not trained to be cut")

    @property
    @abstractmethod
    def name(self) -> str:
        """The algorithm's name, as in a verdict."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the change, known from the factors before any product of them is computed.

        ANY stands for an axis that they leave open; such a class says in `misfit` what else must hold.
        """

    @property
    def rank(self) -> int | None:
        """The rank of the factors, or None where there is none."""
        return None

    @property
    def unscaled(self) -> bool:
        """True if the file has no scale, though files of its kind usually do."""
        return False

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """Yield contradictions among the factors; `shape` and `add_change` are valid only if there are none."""

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        """Say why the change cannot be added to a parameter of this shape, or None."""
        if not fits(self.shape, target):
            shape = ", ".join("any" if size == ANY else str(size) for size in self.shape)
            return f"is of shape ({shape}) where the model's is {tuple(target)}"
        widest = max(target[0], prod(target[1:]), RANK_FLOOR)
        if self.rank is not None and self.rank > widest:
            return f"has rank {self.rank}, above {widest}, the most that makes sense for a {tuple(target)} weight"
        return None

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        """Yield warnings about this change on a parameter of this shape, which are no reason to refuse it."""
        del target
        alpha = self.tensors().get("alpha")
        if alpha is not None and float(alpha) < 0:
            yield "its alpha is negative"

    @classmethod
    def claims(cls, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether a group of tensors, by suffix, belongs to this algorithm."""
        return not cls.SIGNS.isdisjoint(tensors)

    @classmethod
    def missing(cls, names: frozenset[str]) -> list[str]:
        """Return the required suffixes that a group of tensors with these names lacks."""
        required = {field.name for field in fields(cls) if field.default is MISSING}  # type: ignore[arg-type]
        return [suffix for suffix, field in cls.SUFFIXES.items() if field in required and suffix not in names]

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the change that a group of tensors, by suffix, describes; unknown suffixes are ignored."""
        given: dict[str, Any] = {field: tensors[suffix] for suffix, field in cls.SUFFIXES.items() if suffix in tensors}
        return cls(**given)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their suffixes in the file."""
        held = {suffix: getattr(self, field) for suffix, field in self.SUFFIXES.items()}
        return {suffix: tensor for suffix, tensor in held.items() if tensor is not None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k} {tuple(v.shape)}' for k, v in self.tensors().items())})"


class ByRows(Change):
    """A change of which any rows can be computed without the others; a subclass defines `prepare`."""

    @abstractmethod
    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        """Return the change prepared for a weight."""

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        weight = WeightView((pristine,), change.device, pristine.dtype, change.dtype)
        self.prepare(weight, NO_REUSE).add(change, pristine, strength, 0, NO_REUSE)


@dataclass(frozen=True, eq=False)
class _AllRows(PreparedChange):
    """A change that can only be computed for all rows at once."""

    change: Change
    rows: int

    @property
    def row_multiple(self) -> int:
        return self.rows

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        self.change.add_change(change, pristine, strength)


def gamma(alpha: Tensor | None, rank: int) -> float:
    """Return alpha/rank; a missing or zero alpha means alpha = rank (kohya, LyCORIS)."""
    number = 0.0 if alpha is None else float(alpha)
    return number / rank if number else 1.0


def scalar_problems(**scalars: Tensor | None) -> Iterator[str]:
    """Yield which of the named scalars (alpha, scale, a setting) is not one finite number."""
    for name, tensor in scalars.items():
        if tensor is not None and tensor.numel() != 1:
            yield f"{name} must be one number and is of shape {tuple(tensor.shape)}"
        elif tensor is not None and not isfinite(float(tensor)):
            yield f"{name} is {float(tensor)}"
