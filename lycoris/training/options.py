"""The form of the table of algorithms: what a training may say of each. Without torch, so that a front end has it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Value = bool | int | float | str | None
Kind = Literal["linear", "convolution", "norm"]
OptionKind = Literal["flag", "whole", "number", "choice"]
LINEAR: tuple[Kind, ...] = ("linear",)
MATRICES: tuple[Kind, ...] = ("linear", "convolution")
NORMS: tuple[Kind, ...] = ("norm",)
WORDS = {"flag": "true or false", "whole": "a whole number", "number": "a number", "choice": "one word"}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of an algorithm; `default` None means that another number decides, which `meaning` names."""

    name: str
    kind: OptionKind
    default: Value
    meaning: str
    least: float | None = None
    most: float | None = None
    choices: Sequence[str] = ()

    def problem(self, value: Any) -> str:
        """Return why a value cannot be this option's, or ""."""
        if value is None and self.default is None:
            return ""
        if not self._is_of_kind(value):
            return f"must be {WORDS[self.kind]}, not {value!r}"
        if self.kind == "choice" and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {value!r}"
        return self._out_of_range(value) if self.kind in ("whole", "number") else ""

    def _out_of_range(self, value: Any) -> str:
        least, most = self.least, self.most
        if (least is None or value >= least) and (most is None or value <= most):
            return ""
        if least is not None and most is not None:
            return f"must be from {least:g} to {most:g}, not {value:g}"
        return f"must be at least {least:g}, not {value:g}" if least is not None else f"must be at most {most:g}"

    def _is_of_kind(self, value: Any) -> bool:
        if self.kind == "flag":
            return isinstance(value, bool)
        if self.kind == "choice":
            return isinstance(value, str)
        of_kind = isinstance(value, int) or (self.kind == "number" and isinstance(value, float))
        return of_kind and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """One algorithm: what it takes, which layers it reaches, and the learning rate that it should begin with.

    rank: what the number means here; "" where the algorithm takes none. first_change: the root mean square of the
    change that the first step of AdamW makes to a weight of 640×640, per unit of learning rate, at rank 16 and
    alpha = rank. over_rank: whether that step grows with the rank itself, so that the learning rate, which is of the
    default rank, is less where the rank is more. untrainable: why it is read and served, but cannot be trained here;
    "" where it can.
    """

    name: str
    summary: str
    reaches: Sequence[Kind] = ()
    rank: str = ""
    default_rank: int | None = None
    alpha: bool = False
    options: Sequence[Option] = ()
    learning_rate: float = 0.0
    first_change: float = 0.0
    over_rank: bool = False
    why_rate: str = ""
    untrainable: str = ""

    def rate_at(self, rank: int | None) -> float:
        """Return the learning rate at a rank; None is the default one."""
        own = self.default_rank
        return self.learning_rate * own / rank if self.over_rank and own and rank else self.learning_rate
