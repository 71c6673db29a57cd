"""The parts of a training that need no model: batches, sizes, rates, times, texts and what is kept."""

import os
from collections import Counter
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from PIL import Image, ImageOps

from app.shared.buckets import Buckets
from app.shared.errors import BadRequest
from tests.app.shared.making import profile
from tests.workers.training.trained import picture, plan
from workers.training.batches import Batches
from workers.training.captioned_folder import read
from workers.training.chance import generator
from workers.training.kept import Kept, key_of
from workers.training.pictures import cut
from workers.training.rates import rate
from workers.training.state import State
from workers.training.times import flow_time, shift_of, shifted
from workers.training.wording import text_at


def test_hazard_6_every_picture_is_seen_its_repeats_in_every_epoch() -> None:
    sizes, repeats = ["a", "a", "a", "b", "c"], [1, 1, 2, 1, 3]
    batches = Batches(sizes, repeats, 2, seed=1)
    epochs = [[batches.batch(epoch * batches.length + at) for at in range(batches.length)] for epoch in range(3)]
    for epoch in epochs:
        assert Counter(number for batch in epoch for number in batch) == dict(enumerate(repeats))
        assert all(len({sizes[number] for number in batch}) == 1 for batch in epoch), "a batch has one size"
    assert len({str(epoch) for epoch in epochs}) == 3, "each in another order"


def test_hazard_11_a_batch_is_a_function_of_the_seed_and_its_number() -> None:
    forwards, backwards = (Batches([0] * 9, [1] * 9, 2, seed=3) for _ in range(2))
    order = [forwards.batch(at) for at in range(20)]
    assert [backwards.batch(at) for at in reversed(range(20))] == order[::-1]
    assert [Batches([0] * 9, [1] * 9, 2, seed=4).batch(at) for at in range(20)] != order


def test_hazard_22_pictures_are_counted_over_the_real_batches() -> None:
    batches = Batches([0] * 7, [1] * 7, 2, seed=0)
    seen = Counter(number for at in range(15) for number in batches.batch(at))
    assert batches.seen(15) == seen.total() == 27
    assert set(seen.values()) == {3, 4}
    assert round(27 / batches.pictures, 2) == 3.86


@pytest.mark.parametrize("size", [(40, 90), (64, 64), (65, 200), (300, 70), (1000, 1000), (8, 8)])
def test_hazard_7_no_picture_is_enlarged(size: tuple[int, int]) -> None:
    bucket = Buckets(profile(width=64, height=64, size_multiple=8)).of("1", *size)
    assert bucket.scale <= 1.0
    assert bucket.width % 8 == bucket.height % 8 == 0
    assert bucket.width * bucket.height <= 64 * 64
    left, top, right, bottom = bucket.box
    assert abs(left - (size[0] - right)) <= 1 and abs(top - (size[1] - bottom)) <= 1, "its middle"
    assert (right - left) / (bottom - top) == pytest.approx(bucket.width / bucket.height, abs=2 / min(size))
    assert cut(picture(1, size).pixels(), bucket, mirrored=False).size == bucket.size


def test_hazard_7_a_picture_below_the_smallest_size_is_named() -> None:
    with pytest.raises(BadRequest, match=r"7\.png.*7×64"):
        Buckets(profile(width=64, height=64, size_multiple=8)).of("7.png", 7, 64)


def test_hazard_7_of_fixed_sizes_the_one_that_keeps_most_is_taken() -> None:
    fixed = profile(width=64, height=64, sizes=[(64, 64), (96, 32), (512, 512)])
    assert Buckets(fixed).of("1", 200, 70).size == (96, 32)
    assert Buckets(fixed).of("1", 100, 90).size == (64, 64)


@pytest.mark.parametrize("gradient_accumulation_steps", [1, 2, 3])
def test_hazard_21_rates_are_in_steps_of_the_optimiser(gradient_accumulation_steps: int) -> None:
    cosine = plan(
        lr_scheduler="cosine", lr_warmup_steps=2, steps=10, gradient_accumulation_steps=gradient_accumulation_steps
    )
    found = [rate(cosine, 1.0, step) for step in range(10)]
    assert found[:3] == [0.5, 1.0, 1.0] and found[-1] == pytest.approx(0.0, abs=1e-12)
    assert [rate(plan(lr_scheduler="linear", steps=5), 1.0, step) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert {rate(plan(lr_scheduler="constant"), 0.3, step) for step in range(6)} == {0.3}


@pytest.mark.parametrize(
    ("tokens", "shift", "half"), [(1024, 1.8776, 0.6525), (3952, 3.0821, 0.7550), (4096, 3.1582, 0.7595)]
)
def test_hazard_19_times_are_shifted_by_the_size(tokens: int, shift: float, half: float) -> None:
    mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)  # as FLUX's pipeline tells its scheduler
    flux = SimpleNamespace(config={"use_dynamic_shifting": True, "time_shift_type": "exponential", "shift": 3.0})
    assert shift_of(flux, mu) == pytest.approx(shift, abs=1e-4)
    assert shifted(0.5, shift_of(flux, mu)) == pytest.approx(half, abs=1e-4)
    chance = generator(tokens)
    drawn = [flow_time("logit_normal", shift_of(flux, mu), chance) for _ in range(4000)]
    assert median(drawn) == pytest.approx(half, abs=0.02)


def test_hazard_19_a_fixed_shift_is_the_schedulers() -> None:
    assert shift_of(SimpleNamespace(config={"shift": 3.0}), 0.7) == 3.0
    assert shifted(0.5, 3.0) == 0.75


def test_hazard_18_the_average_is_warm() -> None:
    one = torch.nn.Parameter(torch.zeros(1))
    average = EMAModel([one], decay=0.999)
    one.data.fill_(1.0)
    for _ in range(100):
        average.step([one])
    assert float(average.shadow_params[0]) > 0.999


def test_weight_decay_leaves_what_does_not_rest_at_zero() -> None:
    factors = {"lora_up": torch.ones(3, requires_grad=True), "dora_scale": torch.ones(3, requires_grad=True)}
    state = State(factors, plan(weight_decay=0.5), 0.1, undecayed={"dora_scale"})
    state.begin()
    state.advance()
    assert factors["lora_up"].tolist() == pytest.approx([0.95] * 3) and factors["dora_scale"].tolist() == [1.0] * 3


def test_hazard_5_texts_are_decided_by_the_step_alone() -> None:
    one = picture(1, captions=("a, b, c, d", "e, f, g, h"))
    shuffling = plan(shuffle_caption=True, keep_tokens=1)
    texts = [text_at(one, shuffling, 0, step) for step in range(40)]
    assert texts == [text_at(one, shuffling, 0, step) for step in range(40)]
    assert len(set(texts)) > 4
    assert {text[0] for text in texts} == {"a", "e"}, "the first part stays, and both wordings come"
    assert {text_at(one, plan(caption_dropout_rate=1.0), 0, step) for step in range(9)} == {""}
    dropped = sum(not text_at(one, plan(caption_dropout_rate=0.5), 0, step) for step in range(400))
    assert 150 < dropped < 250


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"caption_dropout_rate": 1.5}, "caption_dropout_rate"),
        ({"keep_tokens": 2}, "shuffle_caption"),
        ({"sample_every": 2}, "samples"),
        ({"lr_warmup_steps": 6}, "lr_warmup_steps"),
    ],
)
def test_hazard_34_what_cannot_be_or_does_nothing_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        plan(**changed)


def _folder(folder: Path, **files: str | None) -> Path:
    for number, (name, caption) in enumerate(files.items()):
        picture(number).load().save(folder / f"{name}.png")
        if caption is not None:
            (folder / f"{name}.txt").write_text(caption)
    return folder


def test_hazard_1_missing_captions_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path, a="one", b="two\n\nother two", c="three", d=None)
    with pytest.raises(BadRequest, match=r"1 of 4.*d\.png"):
        read(folder)
    (folder / "gone.txt").write_text("a caption of nothing")
    found = read(folder, default="a thing")
    assert [one.captions for one in found.pictures] == [("one",), ("two", "other two"), ("three",), ("a thing",)]
    assert found.without_caption == ("d.png",) and found.orphaned == ("gone.txt",)


def test_hazard_4_two_pictures_with_one_caption_are_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, a="one")
    picture(9).load().save(folder / "a.jpg")
    with pytest.raises(BadRequest, match=r"a\.jpg or of a\.png"):
        read(folder)


def test_hazard_4_the_same_name_in_two_folders_is_two_pictures(tmp_path: Path) -> None:
    for name, count in (("x", 1), ("10_y", 2)):
        (tmp_path / name).mkdir()
        picture(count).load().save(tmp_path / name / "1.png")
        (tmp_path / name / "1.txt").write_text(name)
    found = read(tmp_path).pictures
    assert [(one.name, one.captions, one.repeats) for one in found] == [
        ("10_y/1.png", ("10_y",), 10),
        ("x/1.png", ("x",), 1),
    ]
    assert len({one.ref for one in found}) == 2


def test_what_was_used_longest_ago_is_forgotten_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for at, key in enumerate("abc"):
        kept.value(key, lambda: torch.zeros(100))
        os.utime(tmp_path / f"{key}.safetensors", (at, at))
    Kept(tmp_path).value("a", lambda: torch.ones(1))  # read, so used now
    size = (tmp_path / "a.safetensors").stat().st_size
    Kept(tmp_path).shrink(2 * size)
    assert {file.stem for file in tmp_path.iterdir()} == {"a", "c"}
    assert Kept(tmp_path).value("b", lambda: torch.ones(1)).numel() == 1


def test_hazard_8_a_turned_picture_is_the_same_picture(tmp_path: Path) -> None:
    image = picture(3, (32, 64)).load()
    undo = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for orientation, turned in undo.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = image.transpose(turned) if turned is not None else image
        stored.save(tmp_path / f"{orientation}.png", exif=exif)
        assert np.array_equal(
            np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"{orientation}.png"))), np.asarray(image)
        )
    assert len({one.ref for one in read(tmp_path, default="x").pictures}) == 1


def test_hazard_3_a_picture_changed_in_place_is_noticed(tmp_path: Path) -> None:
    folder = _folder(tmp_path, a="one")
    (one,) = read(folder).pictures
    picture(5).load().save(folder / "a.png")
    with pytest.raises(BadRequest, match="changed"):
        one.pixels()
    (again,) = read(folder).pictures
    assert again.ref != one.ref


def test_what_is_kept_comes_back_with_its_form(tmp_path: Path) -> None:
    value = {"text": torch.arange(6).view(2, 3), "sizes": [(1, 2), [torch.ones(2)]], "plain": (None, True, 1.5, "x")}
    key = key_of("a", 1)
    assert key != key_of("a1") != key_of("a", 2)
    Kept(tmp_path).value(key, lambda: value)

    def never() -> Any:
        raise AssertionError("it is there")

    again = Kept(tmp_path).value(key, never)
    assert again.keys() == value.keys() and again["plain"] == value["plain"] and again["sizes"][0] == (1, 2)
    assert torch.equal(again["text"], value["text"]) and again["text"].dtype is torch.int64
    file = tmp_path / f"{key}.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    assert Kept(tmp_path).value(key, lambda: "anew") == "anew", "what was spoilt is made anew"
