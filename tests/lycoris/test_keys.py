"""Key lists of real adapter files, and of those that the reference libraries write: every layer finds its place."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from lycoris.targets import Index, inspect
from tests.lycoris.keys.models import model

KEYS = Path(__file__).parent / "keys"
LISTS = {path.name.partition(".json")[0]: path for path in sorted((*KEYS.glob("*.gz"), *KEYS.glob("recorded/*.json")))}
BASES = {
    "sd1": "SD 1",
    "sd2": "SD 2",
    "sdxl": "SDXL",
    "refiner": "SDXL refiner",
    "flux1": "FLUX.1",
    "chroma": "Chroma",
    "flux2": "FLUX.2",
    "sd3.5-medium": "SD 3",
    "z-image": "Z-Image",
    "lumina2": "Lumina 2",
    "qwen-image": "Qwen-Image",
    "wan": "Wan",
    "cosmos": "Anima",
}
# Of the convolutions alone nothing tells SD 1 from SD 2, nor SDXL from either.
ALIKE = {"sd2.lycoris-oft-ldm": "SD 1", "sdxl.lycoris-oft-ldm": None}


RECORDED = {"flux": "flux1", "qwen": "qwen-image"}


def model_of(name: str) -> str:
    return RECORDED.get(name.partition("_")[0]) or next(model for model in BASES if name.startswith(f"{model}."))


@cache
def index(name: str) -> Index:
    return Index(model(name))


def keys(name: str) -> dict[str, list[int]]:
    data = LISTS[name].read_bytes()
    return json.loads(gzip.decompress(data) if LISTS[name].suffix == ".gz" else data)


@pytest.mark.parametrize("name", LISTS)
def test_every_layer_finds_its_place_and_fits(name: str) -> None:
    verdict = inspect(keys(name), index(model_of(name)))
    assert verdict.refused == ()
    assert verdict.unresolved == ()
    assert verdict.resolved == verdict.layers > 0
    found = verdict.base.name if verdict.base else None
    assert found == ALIKE.get(name, BASES[model_of(name)]), verdict.base
    assert not [warning for warning in verdict.warnings if "trained for" in warning]
    print(f"{name}: {len(keys(name))} tensors, {verdict.resolved} layers, {verdict.algorithms}, {verdict.base}")


@pytest.mark.parametrize("name", BASES)
def test_a_model_is_known_by_the_same_signs(name: str) -> None:
    base = index(name).base
    assert base is not None
    assert base.name == BASES[name]
    assert base.evidence
