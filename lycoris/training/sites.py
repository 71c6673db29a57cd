"""The layers of a base, and which of them a plan trains. Without torch, so that a front end can judge it too."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from lycoris.errors import Code, PlanRefused, Reason
from lycoris.tools.kinds import ELSEWHERE, block_of
from lycoris.training.options import Kind
from lycoris.training.plan import Plan

ENCODER = "text_encoder"  # in the name of every component that is one


@dataclass(frozen=True, eq=False)
class Site:
    """One module of a base whose weight could be trained."""

    component: str
    path: str
    kind: Kind
    shape: tuple[int, ...]  # of its weight, as its numbers stand for, quantised or not
    bias: bool  # whether it has one
    obstacle: str  # why it cannot be trained, or empty
    weight_name: str  # the first name of its weight: layers that share one have the same

    @property
    def name(self) -> str:
        """The layer's name in factors and in messages."""
        return f"{self.component}.{self.path}"


S = TypeVar("S", bound=Site)


def chosen(sites: Sequence[S], plan: Plan) -> tuple[list[S], list[str]]:
    """Return the layers that a plan trains, in the model's order, and a note for each that it would have but cannot.

    Raises PlanRefused where a pattern names no layer that can be trained, or where nothing is left.
    """
    found = [site for site in sites if site.kind in plan.facts.reaches]
    if not plan.text_encoders:
        found = [site for site in found if ENCODER not in site.component]
    asked = _named(found, plan.layers) if plan.layers else _inner(found)
    layers = _each_once([site for site in asked if not site.obstacle])
    if not layers:
        kinds = " or ".join(plan.facts.reaches)
        message = f"{plan.algorithm} trains {kinds} layers, and none of the model's that are asked for is one"
        raise PlanRefused([Reason(Code.NO_MODULE, "layers", message)])
    return layers, [f"{site.name} is not trained: it {site.obstacle}" for site in asked if site.obstacle]


def _named(found: list[S], patterns: tuple[str, ...]) -> list[S]:
    unmatched = [one for one in patterns if not any(fnmatchcase(site.name, one) for site in found)]
    if unmatched:
        message = "names no layer that this algorithm trains"
        raise PlanRefused(Reason(Code.NO_MODULE, "layers", f"{pattern!r} {message}") for pattern in unmatched)
    return [site for site in found if any(fnmatchcase(site.name, one) for one in patterns)]


def _inner(found: list[S]) -> list[S]:
    """Return the layers inside the model's blocks: not those at its ends, and of its times; all where it has none."""
    inner = [site for site in found if block_of(site.component, site.path) != ELSEWHERE]
    return inner or found


def _each_once(sites: list[S]) -> list[S]:
    """Return the layers without those whose weight another one holds too: it is trained there."""
    first = {site.weight_name: site for site in reversed(sites)}
    return [site for site in sites if first[site.weight_name] is site]
