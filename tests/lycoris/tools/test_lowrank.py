"""The arithmetic of low rank: what is never formed agrees with what is."""

import pytest
import torch

from lycoris.tools.lowrank import Budget, Loss, distance, of_matrix, of_product, report, size_of_product, total
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close
from tests.tolerances import RELATIVE


@pytest.mark.parametrize("shape", [(12, 3, 20), (12, 30, 20), (5, 8, 40)])
@pytest.mark.parametrize("rank", [1, 3])
def test_a_product_is_cut_as_the_matrix_is(shape: tuple[int, int, int], rank: int) -> None:
    r = zoo.random(1)
    up, down = r(shape[0], shape[1]), r(shape[1], shape[2])
    factors, formed = of_product(up, down, Budget(rank)), of_matrix(up @ down, Budget(rank))
    assert_close(factors[0] @ factors[1], formed[0] @ formed[1], "the nearest of its rank", torch.float32)
    expected = float((up @ down - factors[0] @ factors[1]).norm())
    assert abs(distance(up, down, *factors) - expected) < RELATIVE["float32"] * float((up @ down).norm())
    assert abs(size_of_product(up, down) / float((up @ down).norm()) - 1) < RELATIVE["float32"]


def test_a_distance_of_nothing_is_nothing() -> None:
    r = zoo.random(2)
    up, down = r(8, 4), r(4, 9)
    assert distance(up, down, up, down) < RELATIVE["float64"] * 10 * size_of_product(up, down)
    assert distance(up, down, up * 2, down / 2) < RELATIVE["float64"] * 10 * size_of_product(up, down)


def test_budgets() -> None:
    singular = torch.tensor([3.0, 2.0, 1.0, 0.0])  # energies 9, 4, 1, 0 of 14
    assert [Budget(rank=rank).of(singular) for rank in (1, 3, 9)] == [1, 3, 4]
    assert [Budget(energy=share).of(singular) for share in (0.5, 9 / 14 - 1e-9, 0.65, 0.93, 1.0)] == [1, 1, 2, 3, 3]
    assert Budget(rank=2, energy=1.0).of(singular) == 2
    assert Budget(energy=0.5).of(torch.zeros(3)) == 1


def test_a_report_names_the_worst() -> None:
    losses = [Loss("good", 4, 3.0, 0.0), Loss("bad", 2, 4.0, 2.0)]
    assert total(losses) == pytest.approx(0.4)
    text = "\n".join(report(losses))
    assert "rank 2 to 4" in text
    assert "0.4 in total, 0.25 in the mean, 0.5 at worst" in text
    assert text.index("bad") < text.index("good")
    assert report([]) == ["no layer had to be approximated"]
    assert total([Loss("nothing", 1, 0.0, 0.0)]) == 0
