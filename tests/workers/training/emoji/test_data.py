"""The training set: the same every time, and nothing of what is held out in it."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workers.training import toys
from workers.training.emoji import architecture, captions, codec, drawings, items, pipeline, styles


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A package cache with a made-up entry for every label that the items ask for."""
    entries = [{"label": name, "hexcode": f"{0x1F000 + i:X}", "tags": ["thing"]} for i, name in enumerate(_labels())]
    for entry in entries:
        if entry["label"] in items.FACTS["hands"]:
            entry["skins"] = [{"tone": tone, "hexcode": f"{entry['hexcode']}-1F3F{tone}"} for tone in range(1, 6)]
    (tmp_path / "names" / "en").mkdir(parents=True)
    (tmp_path / "names" / "en" / "data.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def _labels() -> list[str]:
    return [*items.FACTS["core"], *items.FACTS["hands"]]


def test_items_are_922_with_36_held_out_compositions(cache: Path) -> None:
    built = items.build(cache)
    names = [item.name for item in built]
    assert len(names) == len(set(names)) == 922
    held_out = {item.name for item in built if item.held_out}
    assert held_out == set(items.FACTS["held_out"]) and len(held_out) == 36
    assert all(item.kind != "core" for item in built if item.held_out), "only compositions can be recombined"


def test_held_out_items_are_in_no_batch() -> None:
    pipe = toys.pipeline()
    built = toys.latent_set(pipe)
    assert {item.name for item in built.items} == set(toys.NAMES[:-1])
    one, other = built.batch(16, seed=3), built.batch(16, seed=3)
    assert torch.equal(one.latents, other.latents) and torch.equal(one.tokens, other.tokens)
    assert not torch.equal(one.latents, built.batch(16, seed=4).latents)


def test_encoder_is_the_principal_components_of_patches() -> None:
    pipe = toys.pipeline()
    drawn = np.stack([drawings.lay(drawing) for drawing in toys.pictures().values()])
    found = pipeline.encode(drawn, pipe.vae).permute(0, 2, 3, 1).reshape(-1, 24)
    patches = codec.patches(toys.pictures().values())
    centred = (patches - patches.mean(0)).double()
    values, directions = torch.linalg.eigh(centred.T @ centred / len(patches))
    values, directions = values.flip(0)[:8], directions.flip(1)[:, :8]
    expected = (centred @ directions / values.sqrt().sqrt()).float()
    ratio = found[:, :8] / found[:, :8].std(0) - expected / expected.std(0)
    mirrored = found[:, :8] / found[:, :8].std(0) + expected / expected.std(0)
    largest = torch.minimum(ratio.abs().amax(0), mirrored.abs().amax(0)).max().item()
    assert largest < 1e-2, f"largest difference {largest}"
    assert abs(found.square().mean().item() - 1) < 1e-3


def test_recolouring_keeps_silhouette_and_greys() -> None:
    drawing = toys.pictures()["red square"].copy()
    drawing[30:34, 30:34, :3] = 0.5
    blue = drawings.recolour(drawing, "blue")
    assert np.array_equal(blue[..., 3], drawing[..., 3])
    assert np.allclose(blue[31, 31, :3], 0.5), "grey has no hue to turn"
    assert blue[20, 20].argmax() == 2 or blue[20, 20, 2] > blue[20, 20, :2].max()
    assert np.array_equal(blue, drawings.recolour(drawing, "blue"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat", "a cat"),
        ("orange car", "an orange car"),
        ("grapes", "grapes"),
        ("glass", "a glass"),
        ("octopus", "an octopus"),
    ],
)
def test_articles(name: str, expected: str) -> None:
    assert captions.with_article(name) == expected


def test_captions_follow_the_seed_and_name_the_background() -> None:
    item = items.Item(name="cat", kind="core", hexcode="1F408", tags=("pet",))
    made = [captions.caption(item, "blue", random.Random(seed)) for seed in range(200)]
    assert made == [captions.caption(item, "blue", random.Random(seed)) for seed in range(200)]
    assert all("blue background" in text and "cat" in text for text in made)
    assert any(text.startswith("a photo of a cat") for text in made) and any("a cute cat" in text for text in made)


def test_stripes_stay_inside_the_silhouette() -> None:
    drawing = toys.pictures()["blue square"]
    striped = styles.striped(drawing)
    outside = drawing[..., 3] == 0
    assert (striped[outside] == 1).all()
    column = striped[20:44, 32].mean(-1)
    assert np.allclose(column[:8], column[8:16], atol=1e-6) and np.ptp(column) > 0.3


def test_learnt_tokenizer_knows_its_words_and_every_byte() -> None:
    tokenizer = architecture._tokenizer(["a photo of a cat, light skin tone", "cat"] * 3)
    assert tokenizer.tokenize("a photo of a cat, light") == [
        "a</w>",
        "photo</w>",
        "of</w>",
        "a</w>",
        "cat</w>",
        ",</w>",
        "light</w>",
    ]
    assert len(tokenizer) == architecture.VOCABULARY
    assert tokenizer.unk_token_id not in tokenizer("漢字 🍎").input_ids[1:-1]
