"""What was put into a base is found again in the difference: merge and extract are inverse."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lycoris import Code, NoPlace, load
from lycoris.errors import ToolRefused
from lycoris.files.model_folder import default_shapes, variants_of
from lycoris.patcher import StackEntry
from lycoris.tools.extract import extract
from lycoris.tools.lowrank import Budget, total
from lycoris.tools.merge import merge
from lycoris.tools.names import Style
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close
from tests.lycoris.tools.folders import Encoder, changes, write
from tests.tolerances import RELATIVE


def locon(components: dict[str, nn.Module]) -> bytes:
    """Return a LoCon of every matrix and kernel, with norms and some biases."""
    model = components["unet"]
    layers = {
        f"lora_unet_layers_{kind}": zoo.tensors(algorithm, model.get_parameter(f"layers.{kind}.weight"), seed)
        for algorithm, kinds in (("lora-with-bias", zoo.MATRICES), ("norm", zoo.NORMS))
        for seed, kind in enumerate(kinds)
    }
    return zoo.file(layers | {"lora_te_text_model_encoder_layers_0_mlp_fc1": zoo.tensors("lora", torch.empty(16, 8))})


@pytest.mark.parametrize("style", ["kohya", "diffusers"])
def test_a_known_locon_is_recovered(style: Style, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model(), "text_encoder": Encoder()}
    base = write(tmp_path / "base", components, shards=2)
    known = load(locon(components))
    merge(base, [StackEntry(known)], tmp_path / "tuned")
    draft, losses = extract(variants_of(tmp_path / "tuned"), variants_of(base), Budget(rank=zoo.RANK), style)
    draft.write(tmp_path / "found.safetensors", components=default_shapes(variants_of(base)))
    found = load(tmp_path / "found.safetensors")
    assert found.ranks == (zoo.RANK,)
    assert len(losses) == len(zoo.MATRICES) + 1
    print(f"lost {total(losses):.1e}")
    assert total(losses) < RELATIVE["float32"]
    before, after = changes(components, known), changes(components, found)
    for name, change in before.items():
        assert_close(after[name], change, name, torch.float32)
    assert json.loads(found.metadata["lycoris_history"])["tool"] == "extract"
    assert found.metadata["ss_network_dim"] == str(zoo.RANK)


def test_energy_finds_the_rank(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model(), "text_encoder": Encoder()}
    base = write(tmp_path / "base", components)
    merge(base, [StackEntry(load(locon(components)))], tmp_path / "tuned")
    _, losses = extract(variants_of(tmp_path / "tuned"), variants_of(base), Budget(energy=0.999999))
    assert {loss.rank for loss in losses} == {zoo.RANK}


def test_what_does_not_differ_is_refused(tmp_path: Path) -> None:
    variants = variants_of(write(tmp_path / "base", {"unet": zoo.Model()}))
    with pytest.raises(ToolRefused, match="do not differ"):
        extract(variants, variants, Budget(rank=2))


def test_another_architecture_is_refused_with_every_reason(tmp_path: Path) -> None:
    one = variants_of(write(tmp_path / "one", {"unet": zoo.Model(), "text_encoder": Encoder()}))
    two = variants_of(write(tmp_path / "two", {"unet": Encoder()}))
    with pytest.raises(NoPlace) as refusal:
        extract(one, two, Budget(rank=2))
    assert {reason.code for reason in refusal.value.reasons} == {Code.MISFIT, Code.NO_COMPONENT}
    vae = variants_of(write(tmp_path / "vae", {"vae": Encoder()}))
    with pytest.raises(NoPlace, match="neither"):
        extract(vae, vae, Budget(rank=2))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    base, model = variants_of(write(tmp_path / "base", {"unet": zoo.Model()})), zoo.Model()
    with torch.no_grad():
        model.get_parameter("layers.square.weight")[0, 0] = float("nan")
    with pytest.raises(ToolRefused, match="not finite"):
        extract(variants_of(write(tmp_path / "tuned", {"unet": model})), base, Budget(rank=2))
