"""An adapter in training: begins as nothing, is trained through the served forward, and leaves the model as it was."""

import pytest
import torch

from lycoris import NeverCalled, Patcher, Recompute, StackEntry, load
from lycoris.training.export import Naming, export
from lycoris.training.plan import plan
from lycoris.training.trainable import begin
from tests.lycoris.measure import assert_close, bits, bits_of
from tests.lycoris.test_recompute import left
from tests.lycoris.training.models import Denoiser, given, trained


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("naming", ["kohya", "diffusers"])
@pytest.mark.parametrize("algorithm", ["lora", "locon", "lokr"])
def test_what_is_served_is_what_was_trained(algorithm: str, naming: Naming, dtype: torch.dtype) -> None:
    model, x = Denoiser(dtype), given(dtype)
    before, plain = bits_of(model), bits(model(x))
    adapter = begin({"unet": model}, plan(algorithm, rank=3, alpha=2.0), seed=5)
    with adapter.applied({"unet": model}):
        assert bits(model(x)) == plain, "a beginning changes the output"
    losses = trained(model, adapter, 12, 1e-2)
    assert losses[-1] < losses[0]
    with adapter.applied({"unet": model}), torch.no_grad():
        wanted = model(x)
    assert bits_of(model) == before and not left(model) and bits(model(x)) == plain
    entry = StackEntry(load(export(adapter, naming)))
    for served in (Patcher({"unet": model}), Recompute({"unet": model})):
        served.swap([entry])
        with torch.no_grad():
            assert_close(model(x), wanted, f"{algorithm}, {naming}, {type(served).__name__}", dtype)
        served.restore()


def test_checkpointing_changes_no_gradient() -> None:
    ways = []
    for checkpointing in (False, True):
        model = Denoiser()
        adapter = begin({"unet": model}, plan("locon", rank=2), seed=5)
        ways.append((trained(model, adapter, 3, 1e-2, checkpointing), [bits(f) for f in adapter.factors.values()]))
    assert ways[0] == ways[1]


def test_hazard_27_a_value_is_decided_by_the_seed_and_its_name_alone() -> None:
    model = Denoiser()
    whole = begin({"unet": model}, plan("locon", rank=2), seed=5).factors
    torch.rand(100)
    part = begin({"unet": model}, plan("locon", rank=2, layers=["unet.up_blocks.*"]), seed=5).factors
    assert part and part.keys() < whole.keys()
    assert all(bits(part[name]) == bits(whole[name]) for name in part)
    other = begin({"unet": model}, plan("locon", rank=2), seed=6).factors
    assert all(bits(other[name]) != bits(whole[name]) for name in whole if name.endswith("lora_down.weight"))


class Half(Denoiser):
    """Does not call its second block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_out(self.down_blocks[0](x))


def test_a_layer_that_is_never_called_is_named() -> None:
    model = Half()
    adapter = begin({"unet": model}, plan("lora", rank=2), seed=5)
    with adapter.applied({"unet": model}), pytest.raises(NeverCalled, match=r"unet\.up_blocks\.0\.ff"):
        model(given())
    assert not left(model)
