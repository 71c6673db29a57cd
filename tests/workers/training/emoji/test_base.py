"""A run that is stopped and resumed is the run that was never stopped."""

from pathlib import Path

import pytest
import torch

from tests.workers.training import toys
from workers.training.emoji.base import Plan, Trainer
from workers.training.emoji.decoder import DecoderPlan, Decoding
from workers.training.emoji.loop import Loop

pytestmark = pytest.mark.slow

PLAN = Plan(steps=4, batch=2, warm_up=2, save_every=100, grid_every=10**9)


def _trainer(run: Path) -> Trainer:
    pipe = toys.pipeline()
    return Trainer(pipe, toys.latent_set(pipe), PLAN, run)


def test_resumed_base_run_equals_uninterrupted_run_bit_for_bit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("workers.training.emoji.samples.grid", lambda *_: None)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = _trainer(tmp_path / "whole")
    whole.train()
    _trainer(tmp_path / "parts").train(stop_after=2)
    resumed = _trainer(tmp_path / "parts")
    assert resumed.step == 2
    resumed.train()
    for one, other in ((whole.flat.value, resumed.flat.value), (whole.ema, resumed.ema)):
        difference = (one - other).abs().max().item()
        assert torch.equal(one, other), f"largest difference {difference}"


def test_flat_parameters_are_the_modules_own(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    trainer.flat.value.data.fill_(0.5)
    assert all(bool((weight == 0.5).all()) for weight in trainer.pipe.unet.parameters())


def test_base_loss_falls(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Trainer, "_save", lambda *_: None)
    pipe = toys.pipeline()
    trainer = Trainer(pipe, toys.latent_set(pipe), Plan(steps=25, batch=8, learning_rate=3e-3, warm_up=5), tmp_path)
    batch = trainer.data.batch(16, seed=5)
    with torch.no_grad():
        before = trainer._loss(batch, seed=5).item()
    trainer.train()
    with torch.no_grad():
        after = trainer._loss(batch, seed=5).item()
    assert after < 0.9 * before, f"{before} -> {after}"


def test_resumed_decoder_run_equals_uninterrupted_run_bit_for_bit(tmp_path: Path) -> None:
    def trainer(name: str) -> Loop:
        drawn, vae, plan = list(toys.pictures().values()), toys.pipeline().vae, DecoderPlan(steps=4, batch=2)
        return Loop([vae.decoder], Decoding(vae, drawn, drawn[:2], plan).loss, plan, tmp_path / name)

    whole = trainer("whole")
    whole.train()
    trainer("parts").train(stop_after=1)
    resumed = trainer("parts")
    resumed.train()
    difference = (whole.flat.value - resumed.flat.value).abs().max().item()
    assert torch.equal(whole.flat.value, resumed.flat.value), f"largest difference {difference}"
