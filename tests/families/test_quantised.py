"""FLUX.1 with a transformer of eight bits, as torchao and quanto store one: plain, and with an adapter of each kind.

Needs the library at hand: `pip install torchao optimum-quanto`. They are not in the `test` extra, because diffusers
imports them wherever they are, which costs every process seconds.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel, QuantoConfig, TorchAoConfig

from app.shared.catalog import file_key
from lycoris import Patcher, StackEntry, load
from lycoris.kernels.stored import dense, storage
from tests.families.registry import FAMILIES
from tests.families.serving import Diffusers, Served, apart, serving
from tests.lycoris import zoo
from tests.lycoris.measure import bits

FLUX = replace(
    FAMILIES["flux.1-dev"],
    open=lambda folder: DiffusionPipeline.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32),
)
# Of an adapter on eight bits from the same one merged into the numbers that those stand for, in float32
APART = 1
WAYS = {
    "lora": "bypass",
    "lokr-low": "bypass",
    "loha": "recompute",
    "dora-lora-output": "recompute",
    "oft": "recompute",
    "boft": "recompute",
    "full": "recompute",
    "peft-hra": "recompute",
    "glora": "recompute",
}


def torchao_int8() -> Any:
    return TorchAoConfig(import_module("torchao.quantization").Int8WeightOnlyConfig())


CONFIGS = {"torchao": torchao_int8, "optimum.quanto": lambda: QuantoConfig(weights_dtype="int8")}


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX.1 with a quantised transformer."""
    if find_spec(request.param.partition(".")[0]) is None:
        pytest.skip(f"{request.param} is not installed")
    path = tmp_path_factory.mktemp("quantised") / "flux"
    FLUX.build(path)
    part = path / "transformer"
    made: Any = FluxTransformer2DModel.from_pretrained(
        part, quantization_config=CONFIGS[request.param](), torch_dtype=torch.float32
    )
    shutil.rmtree(part)
    made.save_pretrained(part)
    return path


@pytest.fixture(scope="module")
def served(folder: Path, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(FLUX, folder, tmp_path_factory.mktemp("store"), _valkey_server) as one:
        yield one


def tensors(served: Served, algorithm: str) -> dict[str, torch.Tensor]:
    """An adapter on the attention and the feed-forward layers of the transformer."""
    named: dict[str, torch.Tensor] = {}
    for number, (name, layer) in enumerate(served.base.pipeline.transformer.named_modules()):
        if isinstance(layer, torch.nn.Linear) and ("attn" in name or "ff" in name):
            small = zoo.tensors(algorithm, torch.zeros(layer.out_features, layer.in_features), number)
            named |= {f"transformer.{name}.{suffix}": one for suffix, one in small.items()}
    return named


def as_floats(diffusers: Diffusers) -> torch.nn.Module:
    """The transformer with the numbers that its weights stand for, as plain layers of float32."""
    quantised = diffusers.pipeline.transformer
    plain: Any = FluxTransformer2DModel.from_config(dict(quantised.config) | {"quantization_config": None})
    plain.load_state_dict({name: dense(one) for name, one in quantised.named_parameters()})
    return plain.eval().requires_grad_(False)


def stored(served: Served) -> list[bytes]:
    return [bits(part) for one in served.base.pipeline.transformer.parameters() for part in storage(one)]


def test_every_algorithm_is_as_merged_into_the_numbers_and_leaves_nothing(served: Served, folder: Path) -> None:
    diffusers = Diffusers(FLUX, folder)
    plain, before = served.drawn(), stored(served)
    assert apart(plain, diffusers.drawn()) == 0
    assert "merge" not in served.base.profile.apply_modes
    floats = as_floats(diffusers)
    diffusers.pipeline.register_modules(transformer=floats)
    patcher = Patcher({"transformer": floats})
    for algorithm, way in WAYS.items():
        named = tensors(served, algorithm)
        use = served.upload(algorithm, named)
        ended = served.ended(adapters=[use])
        patcher.swap([StackEntry(load(served.storage.get(file_key(use["ref"].removeprefix("sha256:"))) or b""))])
        expected, drawn = diffusers.drawn(), served.pixels(ended)
        patcher.restore()
        print(f"{algorithm}: {ended.applied}, {apart(drawn, expected)} from merged, {apart(drawn, plain)} from plain")
        assert ended.applied == way
        assert apart(drawn, expected) <= APART < apart(drawn, plain), algorithm
        assert np.array_equal(served.drawn(), plain) and stored(served) == before, algorithm
        refusal = served.refusal(adapters=[use], apply="merge")
        assert refusal is not None and "merge" in refusal.message
