"""Dropout: what is dropped is named, the mean over many steps is the whole change, and a step decides its mask."""

from typing import Any

import pytest
import torch

from lycoris.errors import PlanRefused
from lycoris.training.dropout import Dropout
from lycoris.training.export import export
from lycoris.training.plan import OF_RANKS, plan
from lycoris.training.table import TRAINABLE
from lycoris.training.trainable import begin
from tests.lycoris.measure import bits
from tests.lycoris.training.cases import CASES
from tests.lycoris.training.models import Denoiser, given, loss_of

MASKS, PART, CLOSE = 1000, 0.25, 0.03  # without the rescaling the mean would be a quarter off
KINDS = [("outputs", "loha"), ("layers", "boft"), ("ranks", "glora")]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_hazard_25_the_mean_over_many_masks_is_the_change(kind: str, name: str) -> None:
    layer = torch.nn.Linear(16, 16)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    adapter = begin({"unet": torch.nn.ModuleDict({"layer": layer})}, plan(name, rank=4), seed=2)
    draw = torch.Generator().manual_seed(3)
    adapter.set({k: f.detach() + 0.3 * torch.randn(f.shape, generator=draw) for k, f in adapter.factors.items()})
    parts: dict[str, Any] = {kind: PART}
    dropout = Dropout(seed=4, **parts)
    whole, dropped = (each.layers[0].changes["weight"] for each in (adapter.adapter, dropout.over(adapter.adapter)))
    weight, wanted, total = layer.weight.detach(), torch.zeros(16, 16), torch.zeros(16, 16)
    seen: set[bytes] = set()
    with torch.no_grad():
        whole.add_change(wanted, weight, 1.0)
        for dropout.step in range(MASKS):
            added = torch.zeros(16, 16)
            dropped.add_change(added, weight, 1.0)
            total += added
            seen.add(bits(added != 0))
    error = float((total / MASKS * wanted).sum() / wanted.pow(2).sum()) - 1
    print(f"{kind} of {name}: the mean is {error:+.2%} off")
    assert abs(error) < CLOSE and (len(seen) > 1 or kind == "ranks")


def test_hazard_25_a_step_decides_its_mask_and_nothing_but_the_forward_of_training_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lycoris.recompute.SMALL", 0)  # with checkpointing, every layer is computed anew
    model = Denoiser().requires_grad_(False)
    adapter = begin({"unet": model}, CASES["locon"].plan(), seed=5)
    adapter.set({name: torch.full_like(factor, 0.1) for name, factor in adapter.factors.items()})
    before = export(adapter)
    dropout = Dropout(seed=9, outputs=0.5, ranks=0.5, layers=0.25)
    found: list[bytes] = []
    for checkpointing in (False, True):
        with adapter.applied({"unet": model}, checkpointing, dropout):
            for dropout.step in (1, 2, 1):
                for factor in adapter.factors.values():
                    factor.grad = torch.zeros_like(factor)
                loss_of(model, given()).backward()
                grads = [factor.grad for factor in adapter.factors.values()]
                found.append(b"".join(bits(grad) for grad in grads if grad is not None))
    assert found[0] == found[2] != found[1] and found[:3] == found[3:]
    assert export(adapter) == before
    with torch.no_grad(), adapter.applied({"unet": model}):
        undropped = bits(model(given()))
    with torch.no_grad(), adapter.applied({"unet": model}, dropout=Dropout(seed=9)):
        assert bits(model(given())) == undropped


@pytest.mark.parametrize("algorithm", TRAINABLE)
def test_hazard_34_dropout_of_ranks_that_are_none_is_refused(algorithm: str) -> None:
    if algorithm in OF_RANKS:
        Dropout(1, ranks=0.5).check(plan(algorithm))
    else:
        with pytest.raises(PlanRefused, match=f"has no effect on {algorithm}"):
            Dropout(1, ranks=0.5).check(plan(algorithm))
    with pytest.raises(PlanRefused, match=r"module_dropout: must be from 0 to below 1, not 1"):
        Dropout(1, layers=1.0).check(plan(algorithm))
