"""Every builder of the zoo, autograd against finite differences: what is served can be trained, the bias included."""

import pytest
import torch
from torch import Tensor

from lycoris.algorithms.detection import read_group
from tests.lycoris import zoo

STEP = 2e-3  # a change is at most a few powers of a factor: the error of a central difference is of STEP²
CLOSE = 2e-2


def along_change(algorithm: str, kind: str, name: str, tensors: zoo.Tensors) -> tuple[float, float]:
    """Return the derivative of all changes of a layer along a random direction of one factor, by both ways."""
    layer = zoo.layer(kind)
    weight = layer.get_parameter("weight").detach()
    direction = zoo.random(31)(*tensors[name].shape)

    def changed(factor: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for parameter, change in read_group(tensors | {name: factor}).changes.items():
            pristine = layer.get_parameter(parameter).detach()
            if change.OPTIONAL and change.misfit(pristine.shape):
                continue
            added = torch.zeros_like(pristine)
            (change.with_weight(weight) if change.needs_weight else change).add_change(added, pristine, 0.7)
            total = total + (added.double() * zoo.random(37)(*added.shape).double()).sum()
        return total

    factor = tensors[name].clone().requires_grad_()
    loss = changed(factor)
    (gradient,) = torch.autograd.grad(loss, [factor], allow_unused=True) if loss.requires_grad else (None,)
    by_autograd = 0.0 if gradient is None else float((gradient.double() * direction.double()).sum())
    with torch.no_grad():
        # Whatever a path's value is, the difference is taken as if it were trained
        ends = [changed((tensors[name] + sign * STEP * direction).detach().requires_grad_()) for sign in (1, -1)]
    return by_autograd, float(ends[0] - ends[1]) / (2 * STEP)


def check(algorithm: str, kind: str) -> None:
    weight = zoo.layer(kind).get_parameter("weight")
    tensors = zoo.tensors(algorithm, weight)
    for name in tensors.keys() - zoo.NOT_LEARNED:
        if name.endswith(".zeros"):
            continue  # says that there is no such path
        found, wanted = along_change(algorithm, kind, name, tensors)
        assert found == pytest.approx(wanted, rel=CLOSE, abs=CLOSE), f"{algorithm} on {kind}, {name}"


@pytest.mark.parametrize("algorithm", zoo.ALGORITHMS)
def test_autograd_agrees_with_finite_differences(algorithm: str) -> None:
    check(algorithm, zoo.ALGORITHMS[algorithm][1][0])


def test_autograd_agrees_on_every_kind_of_layer(pytestconfig: pytest.Config) -> None:
    """By hand with --every; otherwise on some kinds that the test above has not tried."""
    others = [pair for pair in zoo.PAIRS if pair[1] != zoo.ALGORITHMS[pair[0]][1][0]]
    for algorithm, kind in others if pytestconfig.getoption("every") else others[::12]:
        check(algorithm, kind)


@pytest.mark.parametrize("kind", ["linear", "conv3x3"])
def test_a_path_of_exactly_zero_has_a_gradient_while_it_is_trained(kind: str) -> None:
    algorithm, layer = "peft-glora-columns", zoo.layer(kind)
    tensors = zoo.tensors(algorithm, layer.get_parameter("weight"))
    column = tensors["glora_C.X"]
    assert not column.any() and not read_group(tensors).changes["bias"].needs_weight
    found, wanted = along_change(algorithm, kind, "glora_C.X", tensors)
    assert abs(wanted) > 0.01 and found == pytest.approx(wanted, rel=CLOSE)
