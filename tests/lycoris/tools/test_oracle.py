"""An oracle from outside: diffusers wears what is under diffusers' names as we wear the file that it came from."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from lycoris.adapter import load
from lycoris.patcher import Patcher, Worn
from lycoris.tools.convert import convert
from tests.lycoris import test_diffusers as oracle
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close
from tests.lycoris.tools.test_convert import shapes

components = oracle.components


@pytest.mark.parametrize("kind", ["locon", "mixed ranks", "dora", "biases"])
def test_diffusers_wears_a_converted_file(components: dict[str, nn.Module], kind: str, tmp_path: Path) -> None:
    file = oracle.kohya_file(components)
    if kind != "locon":
        attention = [name for name in file if "attn" in name and not name.startswith("lora_te")]
        file = {name: file[name] for name in attention}
    if kind == "mixed ranks":
        for name in [name for name in file if name.endswith("to_q.lora_down.weight")]:
            up = name.replace("lora_down", "lora_up")
            file[name], file[up] = file[name][:1].clone(), file[up][:, :1].clone()
    if kind == "dora":
        for name in [name for name in file if name.endswith("lora_up.weight")]:
            magnitude = zoo.random(4)(len(file[name]), 1).abs() + 0.5
            file[name.replace("lora_up.weight", "dora_scale")] = magnitude
    if kind == "biases":  # PEFT wants all layers to have them, or none
        file = {name: tensor for name, tensor in file.items() if "to_out_0" in name}
        for name in [name for name in file if name.endswith("to_out_0.lora_up.weight")]:
            file[name.replace("lora_up.weight", "diff_b")] = zoo.random(5)(len(file[name]))
    adapter = load(safetensors.torch.save(file))
    draft, notes = convert(adapter, shapes(components), "diffusers")
    assert notes == []
    draft.write(tmp_path / "diffusers.safetensors")
    bare, patcher = oracle.drawn(components), Patcher(components)
    patcher.swap([Worn(adapter)])
    ours = oracle.drawn(components)
    patcher.restore()
    theirs_loader = oracle.Oracle(components)
    theirs_loader.load_lora_weights(str(tmp_path), weight_name="diffusers.safetensors", adapter_name="style")
    theirs = oracle.drawn(components)
    theirs_loader.unload_lora_weights()
    assert (ours - bare).abs().max() > 0.01, "the adapter hardly shows: nothing is compared"
    assert_close(ours, theirs, f"{kind} under diffusers' names, worn by diffusers", torch.float32)
