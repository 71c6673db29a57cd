"""Law 2 when something comes in between: an error, Ctrl-C, RQ's alarm, wherever it strikes."""

import sys
from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import nn

from lycoris import Adapter, Patcher, load, patcher
from lycoris.merged import integrity, merge, prepared_cache, pristine, write
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of
from tests.lycoris.stopping import Stop, StopAtLine

FILES = frozenset(module.__file__ for module in (write, merge, patcher, prepared_cache, pristine, integrity))
COUNT = 6


@pytest.fixture(scope="module")
def adapters() -> list[Adapter]:
    return [load(data) for data in zoo.adapters(zoo.Model(), COUNT)]


def stop_at(visit: int, error: BaseException) -> Callable[[], None]:
    left = iter(range(visit))

    def check() -> None:
        if next(left, None) is None:
            raise error

    return check


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize(
    "error", [RuntimeError("deadline"), KeyboardInterrupt(), Stop()], ids=lambda e: type(e).__name__
)
def test_stopped_half_way_the_model_is_pristine(
    adapters: list[Adapter], error: BaseException, dtype: torch.dtype
) -> None:
    model = zoo.Model(dtype)
    pristine = bits_of(model)
    patcher = Patcher({"unet": model})
    for visit in (0, 1, 5):
        patcher.swap([StackEntry(adapters[visit])])
        with pytest.raises(type(error)):
            patcher.swap([StackEntry(adapters[2]), StackEntry(adapters[3], 0.5)], check=stop_at(visit, error))
        assert bits_of(model) == pristine
        assert patcher.active == ()
    patcher.swap([StackEntry(adapters[2])])
    fresh = zoo.Model(dtype)
    Patcher({"unet": fresh}).swap([StackEntry(adapters[2])])
    assert bits_of(model) == bits_of(fresh)


def test_stopped_in_the_very_write_the_model_is_pristine(
    adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.Model()
    pristine = bits_of(model)
    copy, writes = torch.Tensor.copy_, []

    def stopped(self: torch.Tensor, *arguments: object) -> torch.Tensor:
        copy(self, *arguments)  # type: ignore[arg-type]
        writes.append(self)
        if len(writes) == 3:
            raise Stop
        return self

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(torch.Tensor, "copy_", stopped)
        Patcher({"unet": model}).swap([StackEntry(adapters[0])])
    assert len(writes) == 6, "three weights written, three restored"
    assert bits_of(model) == pristine


def two_layers() -> nn.ModuleDict:
    return nn.ModuleDict({name: zoo.layer("square") for name in ("one", "other")})


@pytest.mark.slow
def test_stopped_at_any_line_the_model_is_pristine_and_can_be_patched() -> None:
    model = two_layers()
    pristine = bits_of(model)
    groups = {f"lora_unet_{name}": zoo.tensors("lora", layer.get_parameter("weight")) for name, layer in model.items()}
    stack = [StackEntry(load(zoo.file(groups)))]
    Patcher({"unet": model}).swap(stack)
    patched = bits_of(model)
    before = sys.gettrace()
    for line in count():
        patching = Patcher({"unet": (model := two_layers())})
        try:
            sys.settrace(StopAtLine(FILES, line))
            patching.swap(stack)
            break  # it has no more lines
        except Stop:
            assert bits_of(model) == pristine, f"stopped at line {line} of those that run"
        finally:
            sys.settrace(before)
        patching.swap(stack)
        assert bits_of(model) == patched
        patching.restore()
        assert bits_of(model) == pristine, f"restored after a stop at line {line} of those that run"
    assert line > 200


def test_an_interrupted_restore_can_be_finished(adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.Model()
    pristine = bits_of(model)
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(adapters[0])])
    copy, left = torch.Tensor.copy_, iter(range(3))

    def interrupted(self: torch.Tensor, *arguments: object) -> torch.Tensor:
        if next(left, None) is None:
            raise Stop
        return copy(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(torch.Tensor, "copy_", interrupted)
        patcher.restore()
    assert bits_of(model) != pristine
    patcher.swap([])
    assert bits_of(model) == pristine
