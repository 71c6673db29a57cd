"""A training's choice of algorithm, judged against the table. Without torch, so that a front end can judge it too."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from lycoris.errors import Code, PlanRefused, Reason, shown
from lycoris.training.options import Algorithm, Option, Value
from lycoris.training.table import ALGORITHMS, OVER

TRAINABLE = {name: one for name, one in ALGORITHMS.items() if not one.untrainable}
RANK = Option(name="rank", kind="whole", default=None, least=1, most=4096, meaning="as the algorithm has it")
ALPHA = Option(
    name="alpha", kind="number", default=None, least=1e-3, most=1e6, meaning="scale of the change, times rank"
)
OF_RANKS = frozenset({"lora", "locon", "loha", "lokr", "glora", "hira", "vera"})  # whose change is a sum over ranks


@dataclass(frozen=True)
class Plan:
    """An algorithm with its numbers, every option given; `plan` makes one of what a request says.

    layers: shell patterns (`*`, `?`, `[…]`) over "component.module.path"; empty: the layers of the model's blocks, of
    every kind that the algorithm reaches. text_encoders: whether the text encoders' layers are among them.
    """

    algorithm: str
    rank: int | None = None
    alpha: float | None = None
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    layers: tuple[str, ...] = ()
    text_encoders: bool = False

    @property
    def facts(self) -> Algorithm:
        """The algorithm's line of the table."""
        return ALGORITHMS[self.algorithm]

    @property
    def over(self) -> Algorithm:
        """The line of what moves the weight: of DoRA that is the algorithm below it, else the algorithm's own."""
        return ALGORITHMS[str(self.options.get(OVER.name, self.algorithm))]

    @property
    def learning_rate(self) -> float:
        """The learning rate to begin with, at the plan's rank."""
        return self.over.rate_at(self.rank)


def plan(
    algorithm: str,
    rank: int | None = None,
    alpha: float | None = None,
    options: Mapping[str, Any] | None = None,
    layers: Sequence[str] = (),
    text_encoders: bool = False,
) -> Plan:
    """Return the plan with every default filled in: alpha is the rank unless given, so that the scale is 1.

    Raises PlanRefused with a reason for every value that the algorithm has no use for, or that is out of range; the
    subject of a reason is the field: "rank", "options.factor".
    """
    if algorithm not in ALGORITHMS:
        raise PlanRefused([_reason("algorithm", f"is none that is known: {_near(algorithm, TRAINABLE)}")])
    facts, given = ALGORITHMS[algorithm], dict(options or {})
    reasons = [*_numbers(facts, rank, alpha), *_options(facts, given)]
    if facts.untrainable:
        reasons = [_reason("algorithm", f"{algorithm} cannot be trained here: {facts.untrainable}")]
    if reasons:
        raise PlanRefused(reasons)
    rank = facts.default_rank if rank is None else rank
    if facts.alpha and alpha is None and rank is not None:
        alpha = float(rank)
    filled = {option.name: given.get(option.name, option.default) for option in facts.options}
    return Plan(algorithm, rank, alpha if facts.alpha else None, filled, tuple(layers), text_encoders)


def refuse_dropout(plan: Plan, output_dropout: float, rank_dropout: float, module_dropout: float) -> None:
    """Raise PlanRefused for a part that is out of range, or of ranks that a plan's factors do not have."""
    parts = {"output_dropout": output_dropout, "rank_dropout": rank_dropout, "module_dropout": module_dropout}
    reasons = [
        _reason(name, f"must be from 0 to below 1, not {part:g}") for name, part in parts.items() if not 0 <= part < 1
    ]
    if rank_dropout and (plan.algorithm not in OF_RANKS or plan.options.get("full_matrix")):
        reasons.append(_reason("rank_dropout", f"has no effect on {plan.algorithm}: its change is no sum over ranks"))
    if reasons:
        raise PlanRefused(reasons)


def _numbers(facts: Algorithm, rank: Any, alpha: Any) -> Iterator[Reason]:
    for option, value, taken in ((RANK, rank, bool(facts.rank)), (ALPHA, alpha, facts.alpha)):
        if value is not None and not taken:
            yield _reason(option.name, f"has no meaning for {facts.name}, which takes none")
        elif wrong := option.problem(value):
            yield _reason(option.name, wrong)


def _options(facts: Algorithm, given: Mapping[str, Any]) -> Iterator[Reason]:
    known = {option.name: option for option in facts.options}
    for name, value in given.items():
        if name not in known:
            yield _reason(f"options.{shown(name)}", f"is no option of {facts.name}: {_near(name, known)}")
        elif wrong := known[name].problem(value):
            yield _reason(f"options.{name}", wrong)


def _near(word: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(word.strip(), known, n=1)
    listed = ", ".join(known) or "none at all"
    return f"did you mean {near[0]}?" if near else f"there are {listed}"


def _reason(subject: str, message: str) -> Reason:
    return Reason(Code.BAD_OPTION, subject, message)
