"""A device without memory for a picture fails that one alone, says so, and has its memory back."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from app.shared.generations import Ledger
from app.shared.storage import Storage
from tests.app.shared.making import request
from tests.workers import toy
from tests.workers.drawing.asking import drawn, pictures, png, use
from workers.drawing import memory
from workers.drawing.engine import Engine
from workers.drawing.memory import ran_out, too_large


def _beyond_any_machine() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def _raises(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


SHORTAGES: dict[str, Callable[[], None]] = {
    "cpu": _beyond_any_machine,
    "cuda": _raises(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    "cublas": _raises(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
    "mps": _raises(RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)")),
    "python": _raises(MemoryError()),
}


@pytest.mark.parametrize("device", SHORTAGES)
def test_it_fails_one_generation_and_leaves_nothing_in_memory(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel, device: str
) -> None:
    asked = {"adapters": [use(storage, 1)], "count": 2}
    plain, stacked = png(storage, drawn(engine, ledger)), png(storage, drawn(engine, ledger, **asked), 1)
    held: list[Any] = []
    calls = 0

    def fall_short() -> None:
        nonlocal calls
        calls += 1
        activations = torch.ones(64)
        held.append(weakref.ref(activations))
        if calls > 4:  # in the second picture
            SHORTAGES[device]()

    base.pipeline.before_step = fall_short
    failed = drawn(engine, ledger, **asked)
    assert failed.error is not None and failed.error.code == "out_of_memory"
    assert "2 pictures" in failed.error.message and "64×64" in failed.error.message
    assert pictures(storage, failed) == []
    assert [one() for one in held] == [None] * 5
    base.pipeline.before_step = lambda: None
    assert png(storage, drawn(engine, ledger)) == plain
    assert png(storage, drawn(engine, ledger, **asked), 1) == stacked


def test_other_errors_are_none_of_memory() -> None:
    assert not ran_out(RuntimeError("The size of tensor a (8) must match the size of tensor b (9)"))
    assert not ran_out(ValueError("out of memory"))


def test_the_sentence_says_size_count_and_what_was_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 3 << 29)
    said = too_large(request(width=2048, height=1024, count=3), "cuda")
    assert "3 pictures" in said and "2048×1024" in said and "cuda" in said and "1.5 GiB are free" in said
    monkeypatch.setattr(memory, "free_bytes", lambda _: None)
    assert "GiB" not in too_large(request(), "cpu")
