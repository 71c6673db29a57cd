"""The one verb that every algorithm honours, and what an algorithm says about itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from math import isfinite, prod
from typing import Any, ClassVar, Self

from torch import Size, Tensor

from lycoris.kernels.linalg import fits
from lycoris.kernels.prepared import Ready, Seen
from lycoris.kernels.scratch import NO_REUSE, Scratch

RANK_FLOOR = 1024  # trainers give every layer the same rank, small layers too: below this no rank is absurd
SCALARS = frozenset({"alpha", "scale"})  # fields of one number, which may be stored as an integer
SETTINGS = frozenset(  # fields of one number that PEFT keeps in adapter_config.json, and a group of tensors here
    {"neumann_terms", "apply_GS", "fourierft_scaling", "random_loc_seed", "is_feedforward"}
)
WHOLE = SCALARS | SETTINGS | {"on_input", "bias_indices", "bias_size"}  # what may be stored as integers
NEEDS_ITS_BASE = "its change is made of the weight itself: right only on the model it was trained on"  # a doubt
ANY = -1  # an axis of `shape` that the factors leave open


class Change(ABC):
    """What one adapter does to one parameter (a weight or a bias): named tensors and one verb.

    Subclasses are frozen dataclasses; SUFFIXES maps the names in a file to their fields, in the file's order, and a
    group of tensors with any name of SIGNS in it is theirs.
    """

    SUFFIXES: ClassVar[Mapping[str, str]]
    SIGNS: ClassVar[frozenset[str]]
    OPTIONAL: ClassVar[bool] = False  # left out, and not refused, where the module has no such parameter

    @abstractmethod
    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        """Add F(pristine; strength) − pristine to `change`, in place.

        change: float32, contiguous, of pristine's shape. pristine: any float dtype, never written to.
        At strength 0 nothing is added, at 1 the change as trained. Differentiable in the factors.
        """

    def ready(self, weight: Seen, scratch: Scratch) -> Ready:
        """Return the change made ready for a weight, to be added to any rows of it; if need be, only to all of them.

        room: memory for what is computed in between; nothing of it is kept.
        """
        del scratch
        return _AtOnce(self, weight.shape[0])

    @property
    def of_weight(self) -> bool:
        """Tell whether a change of a bias is made of the weight beside it too: then only what `beside` returns adds."""
        return False

    def beside(self, weight: Tensor) -> "Change":
        """Return the change of a bias (o,) as it is beside a pristine weight (o, i, …), in float32."""
        del weight
        return self

    def misfit_beside(self, weight: Size | tuple[int, ...]) -> str | None:
        """Say why the change of a bias cannot be made of a weight of this shape, or None when it can."""
        del weight
        return None

    def first_ranks(self, count: int) -> "Change":
        """Return the change that only the first ranks make, as DyLoRA trains them (Valipour 2022, arXiv 2210.07558).

        Raises ValueError, with a sentence, where that means nothing: where no rank is before another, or a magnitude or
        a residual was found for all of them together.
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
        """The shape of the change that the factors imply, known before any product of them is formed.

        ANY stands for an axis that they leave open; a class with one says in `misfit` what else must hold.
        """

    @property
    def rank(self) -> int | None:
        """The rank of the factors, or None where there is none."""
        return None

    @property
    def unscaled(self) -> bool:
        """Tell whether the file says nothing of the scale where such files do."""
        return False

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the factors among themselves; `shape` and the verb are only good when nothing is."""

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        """Say why the change cannot be added to a parameter of this shape, or None when it can."""
        if not fits(self.shape, target):
            shape = ", ".join("any" if size == ANY else str(size) for size in self.shape)
            return f"is of shape ({shape}) where the model's is {tuple(target)}"
        widest = max(target[0], prod(target[1:]), RANK_FLOOR)
        if self.rank is not None and self.rank > widest:
            return f"has rank {self.rank}, above {widest}, the most that makes sense for a {tuple(target)} weight"
        return None

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        """Yield what is unusual about wearing this on a parameter of this shape, though it is not refused."""
        del target
        alpha = self.tensors().get("alpha")
        if alpha is not None and float(alpha) < 0:
            yield "its alpha is negative"

    @classmethod
    def claims(cls, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether a group of tensors, by suffix, is this algorithm's."""
        return not cls.SIGNS.isdisjoint(tensors)

    @classmethod
    def missing(cls, names: frozenset[str]) -> list[str]:
        """Return the suffixes without which a group of tensors with these names is only half written."""
        required = {field.name for field in fields(cls) if field.default is MISSING}  # type: ignore[arg-type]
        return [suffix for suffix, field in cls.SUFFIXES.items() if field in required and suffix not in names]

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the change that a group of tensors, by suffix, holds; what it does not know it leaves alone."""
        given: dict[str, Any] = {field: tensors[suffix] for suffix, field in cls.SUFFIXES.items() if suffix in tensors}
        return cls(**given)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors under the suffixes that a file gives them."""
        held = {suffix: getattr(self, field) for suffix, field in self.SUFFIXES.items()}
        return {suffix: tensor for suffix, tensor in held.items() if tensor is not None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k} {tuple(v.shape)}' for k, v in self.tensors().items())})"


class ByRows(Change):
    """A change of which any rows can be computed without the others: `ready` is all that it needs to define."""

    @abstractmethod
    def ready(self, weight: Seen, scratch: Scratch) -> Ready:
        """Return the change made ready for a weight, to be added to any rows of it."""

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        seen = Seen((pristine,), change.device, pristine.dtype, change.dtype)
        self.ready(seen, NO_REUSE).add(change, pristine, strength, 0, NO_REUSE)


@dataclass(frozen=True, eq=False)
class _AtOnce(Ready):
    """A change that is only computed whole."""

    change: Change
    rows: int

    @property
    def step(self) -> int:
        return self.rows

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        self.change.add_change(change, pristine, strength)


def gamma(alpha: Tensor | None, rank: int) -> float:
    """Return the factor alpha/rank; a missing or zero alpha means alpha = rank (kohya, LyCORIS)."""
    number = 0.0 if alpha is None else float(alpha)
    return number / rank if number else 1.0


def scalar_problems(**scalars: Tensor | None) -> Iterator[str]:
    """Yield which of the named single numbers (alpha, scale, a setting) is not one finite number."""
    for name, tensor in scalars.items():
        if tensor is not None and tensor.numel() != 1:
            yield f"{name} must be one number and is of shape {tuple(tensor.shape)}"
        elif tensor is not None and not isfinite(float(tensor)):
            yield f"{name} is {float(tensor)}"
