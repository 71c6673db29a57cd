"""Merged into the weights or beside them: what a generation costs either way, and so which of the two it is.

The two agree but for rounding, so the way is in the recipe, and nothing decides it that may be different the next time:
not what is worn now, nor load, nor a clock. It is a function of the request, the stack's shapes and the base's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

from app.shared.errors import BadRequest
from app.shared.schema import ApplyMode, ResolvedRequest, denoises
from lycoris import Plan, Reason, work_of

# Seconds on one core of the machine of tests/bench/README.md, 2026-11-23, torch 2.13: least of nine runs, with LoRAs of
# rank 4, 16 and 64 on linear layers of 64, 320, 1280 and 2048, for 512 positions and for one. float32 and bfloat16 were
# alike, for both are computed in float32. More cores make both ways faster: what decides is how they compare.
PER_MERGE = 9.5e-5  # a weight merged, however small
PER_NUMBER = 1.8e-9  # a number of a weight read, changed and written
PER_HOOK = 2.6e-5  # a layer's call with something beside its weight, however small
PER_VALUE = 2e-9  # a value that goes into such a layer or comes out
PER_PRODUCT = 4e-11  # a multiplication and addition, either way

PIXELS = 8  # of an edge, that are one position of a UNet's outermost layers
PATCH = 2  # positions of an edge, that a transformer takes as one
TOKENS = 77  # that a text encoder reads at once
NAMED = 5  # layers that a refusal spells out
READINGS = 2  # of the prompt and of the negative one; a step with guidance is computed twice likewise


@dataclass(frozen=True)
class Layer:
    """One change, as far as its cost goes."""

    component: str
    parameters: tuple[str, ...]
    shape: tuple[int, ...]  # of the weight
    rank: int  # multiplications for each number of the weight, to merge it
    work: int  # multiplications for each position of the output, beside it

    @property
    def merging(self) -> float:
        """Seconds to merge it once."""
        return PER_MERGE + prod(self.shape) * (PER_NUMBER + self.rank * PER_PRODUCT)

    def calls(self, request: ResolvedRequest, levels: int) -> float:
        """Seconds that it costs in one picture when it is worn beside the weight; levels: of the base's UNet."""
        calls, positions = READINGS, TOKENS
        if denoises(self.component):
            calls = request.steps
            positions = _positions(self.parameters[0], request, levels) * (
                READINGS if request.guidance_scale > 1 else 1
            )
        values = sum(self.shape[:2])
        return calls * (PER_HOOK + positions * (values * PER_VALUE + self.work * PER_PRODUCT))


@dataclass(frozen=True)
class Base:
    """What of a base decides how it is dressed."""

    device: str
    levels: int  # of its UNet's blocks, each at half the edge of the one before; 0 without a UNet
    quantised: frozenset[tuple[str, str]]  # (component, parameter) of weights that cannot be changed exactly


def layers_of(plan: Plan) -> tuple[Layer, ...]:
    """Return the weights that an adapter changes, by their costs."""
    return tuple(
        Layer(
            target.component,
            target.view.parameters,
            target.view.shape,
            target.change.rank or 1,
            work_of(target.change),
        )
        for target in plan.targets
        if len(target.view.shape) > 1
    )


def way(
    request: ResolvedRequest,
    layers: Sequence[Layer],
    stages: int,
    base: Base,
    obstacles: Callable[[], Sequence[Reason]],
) -> ApplyMode:
    """Return how the generation is dressed: as it says, or by itself the cheaper of the two ways that are possible.

    layers: what all its adapters change. stages: stacks that follow each other in one picture. obstacles: asked why
    the stack cannot be worn beside the weights. Raises BadRequest where it says "bypass" and that cannot be.
    """
    if request.apply == "merge" or not request.adapters or _in_sequence(request):
        return "merge"
    if request.apply == "bypass":
        if reasons := obstacles():
            named = "; ".join(map(str, reasons[:NAMED])) + (
                f" and {len(reasons) - NAMED} more" * (len(reasons) > NAMED)
            )
            raise BadRequest("bypass_impossible", f'merge it, or leave "apply" out: {named}')
        return "bypass"
    return "bypass" if _cheaper_beside(request, layers, stages, base) and not obstacles() else "merge"


def _in_sequence(request: ResolvedRequest) -> bool:
    return request.stack_mode == "sequential" and len(request.adapters) > 1


def _cheaper_beside(request: ResolvedRequest, layers: Sequence[Layer], stages: int, base: Base) -> bool:
    if any((layer.component, parameter) in base.quantised for layer in layers for parameter in layer.parameters):
        return True  # merged it cannot be at all
    if base.device != "cpu":
        return False  # not measured; there a merge takes milliseconds, and the hooks of one step do too
    return _beside(request, layers, base.levels) < _merged(request, layers, stages)


def _merged(request: ResolvedRequest, layers: Iterable[Layer], stages: int) -> float:
    # Every picture begins with the first stage again; with one stage nothing has to be put on a second time
    again = stages * request.count if stages > 1 else 1
    return sum(layer.merging * (again if denoises(layer.component) else 1) for layer in layers)


def _beside(request: ResolvedRequest, layers: Iterable[Layer], levels: int) -> float:
    return request.count * sum(layer.calls(request, levels) for layer in layers)


def _positions(parameter: str, request: ResolvedRequest, levels: int) -> int:
    """Return of how many positions a layer of the denoiser computes its output, for one of the pictures of a step."""
    block, _, rest = parameter.partition(".")
    index = int(number) if (number := rest.partition(".")[0]).isdigit() else 0
    edge = PIXELS * (1 if levels else PATCH)
    edge <<= {"down_blocks": index, "mid_block": levels - 1, "up_blocks": levels - 1 - index}.get(block, 0)
    return max(1, request.width // edge) * max(1, request.height // edge)
