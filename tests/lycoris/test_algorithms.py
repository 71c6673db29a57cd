"""Laws of every algorithm, on every kind of layer that it is for."""

import pytest
import torch

from lycoris.algorithms import OF_BIASES, OF_WEIGHTS, UNDER_DORA
from lycoris.algorithms.detection import read_group
from tests.lycoris import zoo
from tests.lycoris.closed_forms import expected_bias, expected_weight
from tests.lycoris.measure import assert_close, bits

STRENGTHS = (1.0, 0.5, -1.25, 2.0)


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize(("algorithm", "kind"), zoo.PAIRS)
def test_laws(algorithm: str, kind: str, dtype: torch.dtype) -> None:
    layer = zoo.layer(kind, dtype)
    tensors = zoo.tensors(algorithm, layer.get_parameter("weight"))
    group = read_group(tensors)
    assert not group.problems
    held = {name: bits(tensor) for name, tensor in tensors.items()}
    for parameter, change in group.changes.items():
        pristine = layer.get_parameter(parameter).detach()
        before = bits(pristine)
        if change.OPTIONAL and change.misfit(pristine.shape):
            continue
        assert change.misfit(pristine.shape) is None
        weight = layer.get_parameter("weight").detach()
        assert change.misfit_with_weight(weight.shape) is None
        change = change.with_weight(weight)

        def changed(strength: float, change=change, pristine=pristine) -> torch.Tensor:
            added = torch.zeros(pristine.shape)
            change.add_change(added, pristine, strength)
            return added

        nothing = changed(0.0)
        assert not nothing.any(), f"strength 0 adds up to {nothing.abs().max():.2e}"
        for strength in STRENGTHS:
            if parameter == "weight":
                whole = expected_weight(tensors, pristine, strength)
            else:
                whole = expected_bias(tensors, pristine, strength, weight)
            wanted = whole - pristine.double()
            assert_close(changed(strength), wanted, f"{algorithm} {kind} {parameter} at {strength}")
            if algorithm not in zoo.NOT_LINEAR:
                assert_close(changed(strength), strength * changed(1.0), "linear in the strength")
        already = torch.full(pristine.shape, 2.0)
        change.add_change(already, pristine, 1.0)
        assert_close(already, changed(1.0) + 2.0, "is added to what is there")
        assert bits(pristine) == before, "the pristine weight was written to"
    assert {name: bits(tensor) for name, tensor in tensors.items()} == held, "the factors were written to"


@pytest.mark.parametrize("algorithm", zoo.ALGORITHMS)
def test_tensors_gives_back_what_the_file_holds(algorithm: str) -> None:
    weight = zoo.layer(zoo.ALGORITHMS[algorithm][1][0]).get_parameter("weight")
    tensors = zoo.tensors(algorithm, weight)
    given = {k: v for change in read_group(tensors).changes.values() for k, v in change.tensors().items()}
    assert given.keys() == tensors.keys()
    assert all(given[name] is tensors[name] for name in tensors)


@pytest.mark.parametrize("algorithm", [name for name in zoo.ALGORITHMS if not name.startswith("norm")])
def test_gradients_reach_every_factor(algorithm: str) -> None:
    kind = zoo.ALGORITHMS[algorithm][1][0]
    weight = zoo.layer(kind).get_parameter("weight").detach().double()
    tensors = {k: v.double() if v.is_floating_point() else v for k, v in zoo.tensors(algorithm, weight).items()}
    factors_of_weight = set(read_group(tensors).changes["weight"].tensors()) - zoo.NOT_LEARNED
    learned = [name for name in tensors if name in factors_of_weight]

    def changed(*factors: torch.Tensor) -> torch.Tensor:
        change = read_group(tensors | dict(zip(learned, factors, strict=True))).changes["weight"]
        added = torch.zeros_like(weight)
        change.add_change(added, weight, 0.7)
        return added

    assert torch.autograd.gradcheck(changed, [tensors[name].requires_grad_() for name in learned], fast_mode=True)


def test_every_line_of_the_table_is_tried() -> None:
    tried = {
        type(change)
        for algorithm, (_, kinds) in zoo.ALGORITHMS.items()
        for change in read_group(zoo.tensors(algorithm, zoo.layer(kinds[0]).get_parameter("weight"))).changes.values()
    }
    assert {*OF_WEIGHTS, *OF_BIASES, *UNDER_DORA} <= tried


def test_a_zero_alpha_means_the_rank() -> None:
    weight = zoo.layer("linear").get_parameter("weight").detach()
    results = []
    for alpha in (0.0, float(zoo.RANK)):
        change = read_group(zoo.tensors("lora", weight) | {"alpha": torch.tensor(alpha)}).changes["weight"]
        results.append(torch.zeros_like(weight))
        change.add_change(results[-1], weight, 1.0)
    assert torch.equal(*results)


def test_dora_takes_a_vector_by_its_length_and_a_square_one_per_output() -> None:
    for kind, axis in (("linear", 1), ("linear", 0), ("square", 0)):
        weight = zoo.layer(kind).get_parameter("weight").detach()
        tensors = zoo.tensors(f"dora-lora-{'input' if axis else 'output'}", weight)
        flat = tensors | {"dora_scale": tensors["dora_scale"].flatten()}
        results = []
        for given in (tensors, flat):
            change = read_group(given).changes["weight"]
            results.append(torch.zeros_like(weight))
            change.add_change(results[-1], weight, 1.0)
        assert torch.equal(*results)
        assert bool(list(change.doubts(weight.shape))) == (kind == "square")
