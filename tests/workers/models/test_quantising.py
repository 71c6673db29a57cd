"""Which weights of a base are quantised when it is loaded, and what is said where they cannot be.

What the libraries make of them is in tests/families/test_quantised.py.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.shared.base_source import BaseSource
from app.shared.settings import Settings
from tests.families.registry import FAMILIES
from tests.lycoris.kernels.test_stored import quantise as in_eight_bits
from workers.models.fingerprint import fingerprint
from workers.models.loading import load
from workers.models.quantising import chosen, libraries, quantisations, quantise
from workers.models.sources import source_of
from workers.models.weight_files import Unservable


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux") / "flux"
    FAMILIES["flux.1-dev"].build(folder)
    return folder


def loaded(folder: Path, to: Any = None) -> Any:
    said: dict[str, Any] = {"models": {"it": {"source": str(folder), "quantize": to}}}
    return load("it", Settings(**said))


def in_test_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantise with nobody's library."""

    def apply(denoiser: nn.Module, layers: Any, _dtype: Any) -> None:
        for layer in layers:
            in_eight_bits(layer)

    monkeypatch.setitem(sys.modules["workers.models.quantising"].WAYS, "int8", apply)


def test_only_the_linear_layers_of_a_denoisers_blocks(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_test_bits(monkeypatch)
    base = loaded(flux, "int8")
    found = {
        f"{part}.{name}"
        for part, module in base.pipeline.components.items()
        if isinstance(module, nn.Module)
        for name, weight in module.named_parameters()
        if quantisations({"": nn.ParameterList([weight])})
    }
    linear = {
        f"transformer.{name}.weight"
        for name, module in base.pipeline.transformer.named_modules()
        if type(module) is nn.Linear
    }
    beside = {name for name in linear if "transformer_blocks." not in name}
    assert beside, "embeddings of texts and times, what comes in and what goes out"
    assert found == linear - beside
    assert base.profile.quantised == ["int8"]


def test_layers_that_are_small_or_read_around_stay() -> None:
    attention = nn.MultiheadAttention(64, 2)
    blocks = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 16), nn.LayerNorm(64), nn.Conv2d(64, 64, 1), attention])
    outside = nn.Linear(64, 64)
    assert list(chosen(nn.ModuleDict({"blocks": blocks, "last": outside}))) == [blocks[0]]


def test_another_quantisation_is_another_base(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source_of(BaseSource(str(flux))).opened()
    assert len({fingerprint(folder), fingerprint(folder, "int8"), fingerprint(folder, "nf4")}) == 3
    in_test_bits(monkeypatch)
    assert loaded(flux, "int8").profile.fingerprint == fingerprint(folder, "int8")


def test_a_library_that_is_not_there_is_named(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(Unservable, match=r"pip install 'radiata\[quantize\]' \(\D*bitsandbytes"):
        loaded(flux, "nf4")


def test_what_is_quantised_already_is_left_alone() -> None:
    layer = in_eight_bits(nn.Linear(64, 64))
    with pytest.raises(Unservable, match=r"`unet` is quantised already .int8.: leave `quantize` out"):
        quantise({"unet": layer, "text_encoder": nn.Linear(64, 64)}, "int8", torch.float32)
    assert libraries({"unet": layer}) == [], "the tests' own"


def test_a_base_without_such_layers_is_not_said_to_be_quantised() -> None:
    small = nn.ModuleDict({"blocks": nn.ModuleList([nn.Conv2d(64, 64, 1), nn.Linear(16, 16)])})
    with pytest.raises(Unservable, match="`unet` has no linear layers of at least 32 × 32 in blocks: leave `quantize`"):
        quantise({"unet": small, "text_encoder": nn.ModuleList([nn.Linear(64, 64)])}, "int8", torch.float32)
