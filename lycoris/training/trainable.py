"""`begin`: an adapter whose factors are trained through the forward that `apply: recompute` serves them with."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor, nn

from lycoris.adapter import Adapter, Layer
from lycoris.algorithms.change import WHOLE
from lycoris.algorithms.detection import read_group
from lycoris.errors import Code, PlanRefused, Reason
from lycoris.placement.shapes import shapes_of
from lycoris.recompute import Recompute
from lycoris.stack import StackEntry
from lycoris.training.beginnings import BEGINNINGS
from lycoris.training.draw import Draw
from lycoris.training.dropout import Dropout
from lycoris.training.foretelling import fitting
from lycoris.training.forms import rank_for
from lycoris.training.place import Place, Tensors
from lycoris.training.plan import Plan
from lycoris.training.reach import TrainedLayer, trainable_layers

FIXED = WHOLE | {"vera_A", "vera_B"}  # tensors of a layer that training leaves as they are
SCALES = (".dora_scale", ".rescale", ".hra_u")  # suffixes of factors that do not rest at zero
SHARED = "shared"  # in place of a layer's name, of values that all layers have in common


@dataclass(frozen=True, eq=False)
class TrainableAdapter:
    """An adapter in training: its factors are leaves of autograd, in float32, on the devices of their layers.

    The `Change` objects that are served are made of these very tensors by the library's own reader, so an optimiser
    that writes the factors in place writes what the forward computes with.
    """

    plan: Plan
    layers: tuple[TrainedLayer, ...]
    tensors: Mapping[TrainedLayer, Tensors]  # every tensor of a layer, by suffix; alpha and settings among them
    notes: tuple[str, ...]  # what differs from what was asked for, such as a rank above a layer's size
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]]  # of every component given, trained or not
    adapter: Adapter  # of these tensors

    @property
    def factors(self) -> dict[str, Tensor]:
        """The tensors to be trained by name, "component.module.path.suffix", always in the same order."""
        return {
            f"{layer.name}.{suffix}": tensor
            for layer in self.layers
            for suffix, tensor in self.tensors[layer].items()
            if suffix not in FIXED
        }

    @property
    def undecayed(self) -> frozenset[str]:
        """The names of factors that a weight decay would spoil: they change nothing at another value than zero."""
        return frozenset(name for name in self.factors if name.endswith(SCALES))

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(factor.numel() for factor in self.factors.values())

    def set(self, factors: Mapping[str, Tensor]) -> None:
        """Write values into the factors, in place.

        Raises PlanRefused, with every name, where one is missing, one too many, or one of another shape.
        """
        own = self.factors
        reasons = [Reason(Code.INCOMPLETE, name, "is missing") for name in own if name not in factors]
        reasons += [Reason(Code.UNKNOWN_TENSOR, name, "is no factor here") for name in factors if name not in own]
        for name in own.keys() & factors.keys():
            if own[name].shape != factors[name].shape:
                message = f"is of shape {tuple(factors[name].shape)}, not {tuple(own[name].shape)}"
                reasons.append(Reason(Code.BAD_SHAPE, name, message))
        if reasons:
            raise PlanRefused(reasons)
        with torch.no_grad():
            for name, factor in own.items():
                factor.copy_(factors[name])

    @contextmanager
    def applied(
        self, components: Mapping[str, nn.Module], checkpointing: bool = True, dropout: Dropout | None = None
    ) -> Generator[Recompute]:
        """Apply the adapter at strength 1 to the modules that it was begun on, differentiable in the factors.

        Each layer's `forward` is that of `apply: recompute`: it computes with W₀ + change at every call. No weight is
        written, no name or pointer changes, no weight of the model gets a gradient, and at the end every module has
        its own forward again. checkpointing: compute large layers anew in the backward pass in place of keeping their
        changed weights, as `Recompute` has it. A forward of a whole component that did not call one of its trained
        layers raises NeverCalled with its name; `check_called` of what is yielded does so where only parts of a
        component run. dropout: parts of the change to leave out, for steps of training alone. Raises PlanRefused where
        it cannot be.
        """
        if dropout is not None:
            dropout.check(self.plan)
        hooked = Recompute(components, checkpointing=checkpointing)
        trained = [p for part in components.values() for p in part.parameters() if p.requires_grad]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            hooked.swap([StackEntry(dropout.over(self.adapter) if dropout else self.adapter)])
            yield hooked
        finally:
            hooked.restore()
            for parameter in trained:
                parameter.requires_grad_(True)


def begin(components: Mapping[str, nn.Module], plan: Plan, seed: int) -> TrainableAdapter:
    """Return an adapter that changes nothing yet, ready to be trained.

    components: every component of the base that adapters may change, by name ("unet", "text_encoder"): which are
    trained is the plan's to say, but files are named by what is there. Every value is decided by the seed, its layer's
    name and its factor's name alone. Raises PlanRefused where no layer can be trained as asked.
    """
    layers, notes = fitting(trainable_layers(components), plan)
    shared = Draw(seed, SHARED)
    widest = (max(layer.shape[0] for layer in layers), max(prod(layer.shape[1:]) for layer in layers))
    begin_on = BEGINNINGS[plan.algorithm]
    begun = {layer: begin_on(_place(layer, plan, Draw(seed, layer.name), shared, widest)) for layer in layers}
    return trainable(components, plan, begun, notes)


def trainable(
    components: Mapping[str, nn.Module], plan: Plan, begun: Mapping[TrainedLayer, Tensors], notes: Sequence[str]
) -> TrainableAdapter:
    """Return the adapter of these tensors, its factors made leaves of autograd in float32."""
    tensors = {
        layer: {
            suffix: tensor if suffix in FIXED else tensor.to(layer.device, torch.float32).requires_grad_()
            for suffix, tensor in group.items()
        }
        for layer, group in begun.items()
    }
    shapes = {component: shapes_of(part) for component, part in components.items()}
    return TrainableAdapter(plan, tuple(begun), tensors, tuple(notes), shapes, adapter_of(tensors))


def adapter_of(tensors: Mapping[TrainedLayer, Tensors]) -> Adapter:
    """Return what the library's own reader makes of the tensors of each layer, which it keeps as they are."""
    layers: list[Layer] = []
    for layer, group in tensors.items():
        read = read_group(group)
        if read.problems:
            raise PlanRefused(Reason(problem.code, layer.name, problem.message) for problem in read.problems)
        layers.append(Layer((layer.component,), layer.path, read.changes))
    nbytes = sum(tensor.nbytes for group in tensors.values() for tensor in group.values())
    return Adapter(None, tuple(layers), (), {}, (), nbytes, nbytes)


def _place(layer: TrainedLayer, plan: Plan, draw: Draw, shared: Draw, widest: tuple[int, int]) -> Place:
    rank, options = rank_for(layer, plan), plan.options
    scale = plan.alpha / plan.rank if plan.rank and plan.alpha else 1.0
    if prod(layer.shape[2:]) > 1 and (conv_alpha := options.get("conv_alpha")):
        scale = float(conv_alpha) / rank
    if options.get("rank_stabilised"):
        scale *= sqrt(rank)
    return Place(layer.shape, layer.bias, rank, options, scale, draw, shared, widest, layer.weight)
