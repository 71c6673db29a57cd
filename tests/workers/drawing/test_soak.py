"""Swap after swap over many adapters out of the cache: nothing is left behind, on the weights or in memory.

The long form, ten thousand swaps on the bundled model, is `python -m tests.bench.swap --parts soak`.
"""

import gc

from torch import Tensor

from app.shared.storage import Storage
from lycoris import Patcher, load
from tests.bench.swap.soaking import Soak, stored
from tests.workers import toy
from workers.adapters.cache import AdapterCache

ADAPTERS, SWAPS, HELD = 60, 600, 10


def test_hundreds_of_swaps_leave_nothing_behind(storage: Storage) -> None:
    base = toy.base()
    pristine = {name: weight.clone() for name, weight in base.pipeline.unet.state_dict().items()}
    files = [toy.adapter(seed) for seed in range(ADAPTERS)]
    budget = HELD * load(files[0]).nbytes
    uses = [stored(storage, data, seed) for seed, data in enumerate(files)]
    cache, patcher = AdapterCache(storage, budget), Patcher(base.components)
    soak = Soak(patcher, cache, uses)
    seen: list[tuple[int, int]] = []
    for number in range(SWAPS):
        soak.swap()
        assert cache.nbytes <= budget, f"the cache holds {cache.nbytes} bytes of {budget}"
        if number % (SWAPS // 6) == SWAPS // 6 - 1:
            seen.append((patcher.touched_bytes, _tensors()))
    touched, alive = zip(*seen, strict=True)
    print(f"bytes of pristine copies {touched}, tensors alive {alive}")
    assert set(touched) == {sum(weight.nbytes for weight in pristine.values())}
    assert max(alive[1:]) <= alive[0] + 3 * HELD, "tensors pile up"
    patcher.restore()
    for name, weight in base.pipeline.unet.state_dict().items():
        assert weight.equal(pristine[name]), name


def _tensors() -> int:
    gc.collect()
    return sum(issubclass(type(one), Tensor) for one in gc.get_objects())
