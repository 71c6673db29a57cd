"""What the trainer saves is what the patcher applies: one verb, no second implementation."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from lycoris import Patcher, load
from lycoris.patcher import StackEntry
from tests.tolerances import RELATIVE
from tests.workers.training import toys
from workers.training import adapters, folder
from workers.training.adapters import AdapterPlan, AdapterTrainer
from workers.training.factors import RECIPES

pytestmark = pytest.mark.slow


def _train(algorithm: str, steps: int) -> AdapterTrainer:
    plan = AdapterPlan(algorithm=algorithm, steps=steps, batch=4, learning_rate=1e-2, warm_up=2)
    trainer = AdapterTrainer(toys.pipeline(), toys.captioned(), plan)
    trainer.train()
    return trainer


@pytest.mark.parametrize("algorithm", RECIPES)
def test_saved_adapter_applies_exactly_as_trained(algorithm: str) -> None:
    trainer = _train(algorithm, steps=4)
    with torch.no_grad():
        trained = trainer.merged()
        pristine = {name: weight.clone() for name, weight in trainer.pristine.items()}
    adapter = load(adapters.to_bytes(trainer.changes, {"ss_network_module": "test"}, dtype=torch.float32))
    patcher = Patcher({"unet": trainer.unet})
    patcher.swap([StackEntry(adapter, 1.0)])
    live = dict(trainer.unet.named_parameters())
    changed = 0
    for name, weight in trained.items():
        difference = (live[name] - weight).abs().max().item()
        largest = weight.abs().max().item()
        assert difference <= RELATIVE["float32"] * largest, f"{name}: largest difference {difference}"
        changed += not torch.equal(weight, pristine[name])
    assert changed, "the adapter changes nothing"
    assert len(trained) == len(adapter.layers)


@pytest.mark.parametrize("algorithm", RECIPES)
def test_adapter_loss_falls_and_untrained_changes_nothing(algorithm: str) -> None:
    untrained = _train(algorithm, steps=0)
    trained = _train(algorithm, steps=30)
    with torch.no_grad():
        assert all(torch.equal(weight, untrained.pristine[name]) for name, weight in untrained.merged().items())
        before, after = (sum(run.loss(step).item() for step in range(1000, 1008)) for run in (untrained, trained))
    assert after < before, f"{algorithm}: {before} -> {after}"


def test_folder_of_captioned_pictures(tmp_path: Path) -> None:
    Image.new("RGBA", (32, 16), (255, 0, 0, 0)).save(tmp_path / "b.png")
    (tmp_path / "b.txt").write_text("a red thing\n\nred thing, on fire\n")
    shown = folder.read_folder(tmp_path, size=64)
    assert shown[0].picture.shape == (64, 64, 3)
    assert shown[0].picture.min() == 1.0, "what is transparent is white"
    assert shown[0].captions == ("a red thing", "red thing, on fire")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        folder.read_folder(tmp_path, size=64)
