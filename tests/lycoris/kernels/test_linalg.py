"""The shared products against their slow twins."""

import random

import pytest
import torch

from lycoris.kernels.linalg import finite, tucker
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close


@pytest.mark.parametrize("kernel", [(), (3,), (3, 3), (1, 3, 2)])
def test_tucker_is_the_sum_over_both_ranks(kernel: tuple[int, ...]) -> None:
    r = zoo.random(0)
    core, left, right = r(3, 4, *kernel), r(3, 7), r(4, 5)
    expected = torch.einsum("mn...,mo,ni->oi...", core.double(), left.double(), right.double())
    assert_close(tucker(core, left, right), expected, f"kernel {kernel}")


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_number_anywhere_is_seen(dtype: torch.dtype, bad: float) -> None:
    source = random.Random(0)
    for size in (1, 2, 7, 33, 1000, 4099):
        tensor = torch.randn(size).to(dtype)
        assert finite(tensor)
        for _ in range(20):
            position = source.randrange(size)
            kept = tensor[position].item()
            tensor[position] = bad
            assert not finite(tensor), (size, position)
            tensor[position] = kept
    extremes = torch.finfo(dtype)
    assert finite(torch.tensor([extremes.max, extremes.min, extremes.max]).to(dtype))
