"""The trainers of what is guided by a picture: they learn, they leave the base alone, and others can read the files."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.workers.training import toys
from workers.training.emoji import drawings
from workers.training.emoji.guided import control, image_encoder, image_prompt, launch, subjects
from workers.training.emoji.guided.subjects import Subject, Subjects
from workers.training.emoji.loop import Loop, LoopPlan


def _seen() -> Subjects:
    drawn = toys.pictures()
    known = tuple(Subject(item=item, drawings=(drawn[item.name],)) for item in toys.catalogue())
    return Subjects(known=known[:3], unknown=known[3:], held_back=())


def _base() -> StableDiffusionPipeline:
    pipe = toys.pipeline()
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        part.requires_grad_(False)
    return pipe


def _learns(module: nn.Module, loss: Callable[[int, int], Tensor], run: Path, batch: int = 4) -> None:
    """A few steps on one and the same batch make its loss smaller."""
    loop = Loop([module], lambda _: loss(7, batch), LoopPlan(steps=12, warm_up=1, ema=0.0), run)
    with torch.no_grad():
        before = loss(7, batch).item()
    loop.train()
    with torch.no_grad():
        after = loss(7, batch).item()
    assert after < before, f"{before} -> {after}"


def test_the_control_learns_and_diffusers_reads_its_file(tmp_path: Path) -> None:
    pipe = _base()
    before = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    adapter = control.blank(pipe.unet, seed=1)
    _learns(adapter, control.Objective(adapter, pipe, _seen()).loss, tmp_path)
    assert all(torch.equal(before[name], weight) for name, weight in pipe.unet.state_dict().items())
    launch.write(tmp_path / "edges.safetensors", adapter.state_dict(), launch.CONTROL_HEADER)
    read = T2IAdapter(**{name: adapter.config[name] for name in ("in_channels", "channels", "num_res_blocks")})
    read.load_state_dict(load_file(tmp_path / "edges.safetensors"))
    map_ = torch.rand(1, 1, 64, 64)
    shapes = [tuple(feature.shape) for feature in read(map_)]
    assert shapes == [(1, 32, 8, 8), (1, 32, 4, 4)]


def test_the_image_prompt_learns_and_diffusers_reads_its_file(tmp_path: Path) -> None:
    pipe, encoder = _base(), image_encoder.blank(seed=1)
    before = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    prompt = image_prompt.ImagePrompt(pipe.unet, image_encoder.EMBEDDING, seed=1)
    _learns(prompt, image_prompt.Objective(prompt, encoder, pipe, _seen()).loss, tmp_path)
    assert all(torch.equal(before[name], weight) for name, weight in pipe.unet.state_dict().items())
    launch.write(tmp_path / "reference.safetensors", prompt.file(), launch.IMAGE_PROMPT_HEADER)
    pipe.load_ip_adapter(str(tmp_path), subfolder="", weight_name="reference.safetensors", image_encoder_folder=None)
    embeds, given = torch.randn(1, 1, image_encoder.EMBEDDING), torch.randn(1, 64, 32)
    projected = pipe.unet.encoder_hid_proj([embeds])[0][:, 0]
    assert torch.allclose(projected, prompt.projection(embeds[0]), atol=2e-3), "the file holds float16"
    for layer, k, v in zip(prompt.layers, prompt.k, prompt.v, strict=True):
        text = torch.randn(1, 24, 32)
        query, keys, values = layer.to_q(given), layer.to_k(text), layer.to_v(text)
        told = image_prompt._attend(layer.heads, query, keys, values)
        told = told + image_prompt._attend(layer.heads, query, k(projected), v(projected))
        theirs = layer(given, (text, [projected[:, None]]))
        assert torch.allclose(layer.to_out[0](told), theirs, atol=2e-3), "what is taught is what diffusers adds"


def test_the_encoder_learns_to_tell_things_apart(tmp_path: Path) -> None:
    objective = image_encoder.Objective(image_encoder.blank(seed=1), _base(), _seen())
    _learns(objective, objective.loss, tmp_path)
    assert not any(name.startswith("_pipe") for name, _ in objective.named_parameters())


def test_a_view_stays_the_drawing_it_is_of() -> None:
    disc = toys.pictures()["red disc"]
    rng = random.Random(3)
    for _ in range(20):
        view = subjects.moved(disc, rng)
        there = view[..., 3] > 0.5
        assert 0.3 < there.sum() / (disc[..., 3] > 0.5).sum() < 1.1
        assert np.abs(view[there][:, :3].mean(0) - (0.9, 0.1, 0.1)).max() < 0.02


def test_a_line_map_is_white_on_black_where_the_picture_changes() -> None:
    lines = control.edges(drawings.lay(toys.pictures()["blue square"]))
    assert set(np.unique(lines)) == {0.0, 1.0}
    assert lines.mean() < 0.1
    assert lines[11:14, 20:44].max(0).all() and not lines[20:44, 20:44].any()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path, steps: int) -> None:
    def loop(name: str) -> Loop:
        torch.manual_seed(1)
        layer = nn.Linear(3, 3)
        inputs = torch.randn(4, 3)
        return Loop([layer], lambda step: (layer(inputs) - step).square().mean(), LoopPlan(steps=6), tmp_path / name)

    whole, parts = loop("whole"), loop("parts")
    whole.train()
    parts.train(stop_after=steps)
    resumed = loop("parts")
    resumed.train()
    assert torch.equal(whole.flat.value, resumed.flat.value) and torch.equal(whole.ema, resumed.ema)
