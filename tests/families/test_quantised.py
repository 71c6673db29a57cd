"""Bases with a quantised transformer: plain, and with an adapter of each kind; as GGUF, and by the libraries at hand.

`pip install torchao optimum-quanto bitsandbytes` brings them all. They are not in the `test` extra, because diffusers
imports them wherever they are, which costs every process seconds.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, QuantoConfig, TorchAoConfig

from app.shared.catalog import file_key
from app.shared.generation_keys import image_key
from app.shared.wire.generation import Generation
from lycoris import Patcher, StackEntry, load, storage
from lycoris.kernels.stored import dense
from tests.families.family import Family
from tests.families.registry import FAMILIES
from tests.families.serving import Diffusers, Served, apart, serving
from tests.families.z_image_file import as_gguf
from tests.lycoris import zoo
from tests.lycoris.measure import bits
from workers.models.looking import look

pytestmark = pytest.mark.filterwarnings("ignore:.*Quanto.* is deprecated:FutureWarning")

# Of an adapter on the quantised numbers from the same one merged into the numbers that they stand for, in float32
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


BECAUSE = {"bypass": "quantised", "recompute": "no_forward_form"}


def float32(folder: Path) -> Any:
    return DiffusionPipeline.from_pretrained(folder, local_files_only=True, dtype=torch.float32)


FLUX, Z_IMAGE = (replace(FAMILIES[name], open=float32) for name in ("flux.1-dev", "z-image"))


def gguf(folder: Path) -> Path:
    """A folder and a GGUF file beside it."""
    as_gguf(folder, file := folder.with_suffix(".gguf"))
    return file


def saved(config: Callable[[], Any]) -> Callable[[Path], Path]:
    """A folder in which diffusers has saved a quantised transformer."""

    def build(folder: Path) -> Path:
        part = folder / "transformer"
        kind: Any = type(float32(folder).transformer)
        made = kind.from_pretrained(part, quantization_config=config(), dtype=torch.float32)
        shutil.rmtree(part)
        made.save_pretrained(part)
        return folder

    return build


def torchao() -> Any:
    return TorchAoConfig(import_module("torchao.quantization").Int8WeightOnlyConfig())


@dataclass(frozen=True)
class Case:
    """How a base comes to be quantised."""

    stored: str  # as its profile says
    library: str = "gguf"
    family: Family = FLUX
    build: Callable[[Path], Path] = lambda folder: folder  # what its source is
    said: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "gguf": Case("Q8_0", family=Z_IMAGE, build=gguf, said={"dtype": "float32"}),
    "int8": Case("int8", "torchao", said={"quantize": "int8"}),
    "fp8": Case("float8_e4m3fn", "torchao", said={"quantize": "fp8"}),
    "nf4": Case("nf4", "bitsandbytes", said={"quantize": "nf4"}),
    "torchao's folder": Case("int8", "torchao", build=saved(torchao), said={"dtype": "float32"}),
    "quanto's folder": Case(
        "int8", "optimum", build=saved(lambda: QuantoConfig(weights_dtype="int8")), said={"dtype": "float32"}
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """A way in which a base is quantised, whose library is at hand."""
    found = CASES[request.param]
    if find_spec(found.library) is None:
        pytest.skip(f"{found.library} is not installed")
    return found


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family's folder as it was before."""
    path = tmp_path_factory.mktemp("whole") / "base"
    case.family.build(path)
    return path


@pytest.fixture(scope="module")
def served(case: Case, whole: Path, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = Path(shutil.copytree(whole, tmp_path_factory.mktemp("quantised") / "base"))
    source = case.build(folder)
    with serving(case.family, source, tmp_path_factory.mktemp("store"), _valkey_server, case.said) as one:
        yield one


def tensors(served: Served, algorithm: str) -> dict[str, torch.Tensor]:
    """An adapter on the attention and the feed-forward layers of the transformer."""
    named: dict[str, torch.Tensor] = {}
    for number, (name, layer) in enumerate(served.base.pipeline.transformer.named_modules()):
        if isinstance(layer, torch.nn.Linear) and any(part in name for part in ("attn", "attention", "ff")):
            small = zoo.tensors(algorithm, torch.zeros(layer.out_features, layer.in_features), number)
            fits = {suffix: one for suffix, one in small.items() if suffix != "diff_b" or layer.bias is not None}
            named |= {f"transformer.{name}.{suffix}": one for suffix, one in fits.items()}
    return named


def as_floats(served: Served) -> torch.nn.Module:
    """The transformer with the numbers that its weights stand for, as plain layers of float32."""
    live = served.base.pipeline.transformer
    plain: Any = type(live).from_config(dict(live.config) | {"quantization_config": None})
    plain.load_state_dict({name: dense(one) for name, one in live.named_parameters()})
    return plain.eval().requires_grad_(False)


def stored(served: Served) -> list[bytes]:
    return [bits(part) for one in served.base.pipeline.transformer.parameters() for part in storage(one)]


def png(served: Served, generation: Generation) -> bytes | None:
    return served.storage.get(image_key(generation.id, 0))


def test_every_algorithm_is_as_merged_into_the_numbers_and_leaves_nothing(
    served: Served, case: Case, whole: Path
) -> None:
    """Laws 2 and 3 on a quantised base, and what its adapters draw."""
    diffusers = Diffusers(case.family, whole)
    first, before = served.ended(), stored(served)
    plain = served.pixels(first)
    assert served.base.profile.quantised == [case.stored]
    floats = as_floats(served)
    diffusers.pipeline.register_modules(transformer=floats)
    assert apart(plain, diffusers.drawn()) <= APART
    patcher = Patcher({"transformer": floats})
    drawn = {}
    for algorithm, way in WAYS.items():
        named = tensors(served, algorithm)
        use = served.upload(algorithm, named)
        ended = drawn[algorithm] = served.ended(adapters=[use])
        patcher.swap([StackEntry(load(served.storage.get(file_key(use["ref"].removeprefix("sha256:"))) or b""))])
        expected, found = diffusers.drawn(), served.pixels(ended)
        patcher.restore()
        print(f"{algorithm}: {ended.applied}, {apart(found, expected)} from merged, {apart(found, plain)} from plain")
        assert (ended.applied, ended.applied_because) == (way, BECAUSE[way])
        named = served.ended(adapters=[use], apply=way)
        assert png(served, named) == png(served, ended), "what is asked for as it would be anyway"
        assert apart(found, expected) <= APART < apart(found, plain), algorithm
        assert png(served, served.ended()) == png(served, first) and stored(served) == before, algorithm
        refusal = served.refusal(adapters=[use], apply="merge")
        assert refusal is not None and refusal.code == "merge_impossible"
        assert f"is quantised ({case.stored})" in refusal.message and "recompute: " in refusal.message
    assert served.engine._applier.verify(math.inf) == []
    for algorithm in ("loha", "lora"):
        again = served.ended(adapters=[{"ref": f"sha256:{drawn[algorithm].request.adapters[0].sha256}"}])
        assert png(served, again) == png(served, drawn[algorithm]), algorithm


def test_what_is_told_without_loading_is_what_it_takes(served: Served) -> None:
    """The scales of whole rows are not counted: of layers as small as these they are some of the memory."""
    looked = look(served.family.name, served.settings)
    modules = [part for part in served.base.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    held = sum(one.nbytes for module in modules for weight in module.parameters() for one in storage(weight))
    assert looked.memory_bytes == pytest.approx(held, rel=0 if "Q8_0" in looked.stored else 0.05)
    assert looked.memory_bytes < sum(weight.numel() * 4 for module in modules for weight in module.parameters())


def test_weights_that_are_not_quantised_are_merged_into(served: Served) -> None:
    use, _ = served.lora("text_encoder")
    for apply in ("auto", "merge"):
        ended = served.ended(adapters=[use], apply=apply)
        assert (ended.applied, ended.applied_because) == ("merge", "mergeable"), ended.error


def test_the_numbers_stay_near_those_of_the_file(served: Served, case: Case, whole: Path) -> None:
    pristine = dict(case.family.open(whole).transformer.named_parameters())
    for name, one in served.base.pipeline.transformer.named_parameters():
        largest = pristine[name].abs().max()
        assert abs(dense(one) - pristine[name]).max() <= largest * (0.2 if case.stored == "nf4" else 0.05), name
