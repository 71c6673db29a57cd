"""An adapter in training: begins as nothing, is trained through the served forward, and leaves the model as it was."""

from typing import Any

import pytest
import torch

from lycoris import NeverCalled
from lycoris.errors import PlanRefused
from lycoris.hooked.computed import ComputedForward
from lycoris.training.plan import plan
from lycoris.training.trainable import begin
from tests.lycoris.measure import bits, bits_of
from tests.lycoris.test_recompute import left
from tests.lycoris.training.cases import CASES
from tests.lycoris.training.models import Denoiser, given, trained


@pytest.fixture
def all_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """With checkpointing, compute every layer anew."""
    monkeypatch.setattr("lycoris.recompute.SMALL", 0)


@pytest.mark.usefixtures("all_anew")
def test_checkpointing_changes_no_gradient() -> None:
    ways = []
    for checkpointing in (False, True):
        model = Denoiser()
        adapter = begin({"unet": model}, plan("locon", rank=2), seed=5)
        ways.append((trained(model, adapter, 3, 1e-2, checkpointing), [bits(f) for f in adapter.factors.values()]))
    assert ways[0] == ways[1]


@pytest.mark.parametrize(("kept", "anew"), [(0, {"conv", "to_q", "ff", "point"}), (1200, {"conv"}), (1 << 20, set())])
def test_the_largest_layers_are_computed_anew(kept: int, anew: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lycoris.recompute.SMALL", kept)  # to_q, ff and point have 832 bytes; conv has 1152
    calls: list[str] = []
    made = ComputedForward._weights

    def counted(self: ComputedForward, inputs: Any) -> Any:
        calls.append(self.name.split(".")[-1])
        return made(self, inputs)

    monkeypatch.setattr(ComputedForward, "_weights", counted)
    model = Denoiser()
    adapter = begin({"unet": model}, plan("locon", rank=2, layers=["unet.up_blocks.*"]), seed=5)
    trained(model, adapter, 1, 1e-2)
    assert {name for name in calls if calls.count(name) == 2} == anew and len(set(calls)) == 4


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


class Words(torch.nn.Module):
    """A text encoder of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q_proj(x)


@pytest.mark.usefixtures("all_anew")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("text_encoders", [False, True])
def test_hazard_33_the_listed_factors_are_trained_and_no_other(text_encoders: bool, checkpointing: bool) -> None:
    components = {"unet": Denoiser(), "text_encoder": Words()}
    before = bits_of(*components.values())
    adapter = begin(components, plan("lora", rank=2, text_encoders=text_encoders), seed=5)
    assert {layer.component for layer in adapter.layers} == ({*components} if text_encoders else {"unet"})
    values = {name: bits(factor) for name, factor in adapter.factors.items()}
    optimizer = torch.optim.AdamW(adapter.factors.values(), lr=1e-2)
    with adapter.applied(components, checkpointing):
        assert not any(weight.requires_grad for part in components.values() for weight in part.parameters())
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            components["unet"](given() + components["text_encoder"](given())).pow(2).mean().backward()
            optimizer.step()
    assert {name for name, factor in adapter.factors.items() if bits(factor) != values[name]} == values.keys()
    assert bits_of(*components.values()) == before
    weights = [weight for part in components.values() for weight in part.parameters()]
    assert all(weight.requires_grad and weight.grad is None for weight in weights)


def test_an_exception_leaves_the_model_as_it_was() -> None:
    model = Denoiser()
    before, identity = bits_of(model), [id(p) for p in model.parameters()]
    adapter = begin({"unet": model}, plan("loha", rank=2), seed=5)
    with pytest.raises(KeyboardInterrupt), adapter.applied({"unet": model}):
        raise KeyboardInterrupt
    assert not left(model) and bits_of(model) == before and [id(p) for p in model.parameters()] == identity
    assert all(p.requires_grad for p in model.parameters())


def test_factors_are_set_all_together_or_not_at_all() -> None:
    model = Denoiser()
    adapter = begin({"unet": model}, plan("lora", rank=2), seed=5)
    other = begin({"unet": model}, plan("lora", rank=2), seed=6)
    adapter.set(other.factors)
    assert [bits(f) for f in adapter.factors.values()] == [bits(f) for f in other.factors.values()]
    first = next(iter(adapter.factors))
    wrong = {"unet.surplus": torch.zeros(1)} | {k: v for k, v in other.factors.items() if k != first}
    with pytest.raises(PlanRefused) as refused:
        adapter.set(wrong)
    assert {reason.subject for reason in refused.value.reasons} == {first, "unet.surplus"}


def test_decay_pulls_every_factor_but_the_undecayed_ones_to_no_change() -> None:
    for case in CASES.values():
        model = Denoiser()
        adapter = begin({"unet": model}, case.plan(), seed=5)
        with torch.no_grad():
            for name, factor in adapter.factors.items():
                if name not in adapter.undecayed:
                    factor.zero_()
        with torch.no_grad(), adapter.applied({"unet": model}):
            changed = model(given())
        with torch.no_grad():
            torch.testing.assert_close(changed, model(given()), rtol=0, atol=1e-5)
