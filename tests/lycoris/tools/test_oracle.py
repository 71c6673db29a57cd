"""An independent check: diffusers applies a converted file as the patcher applies the file that it was made from."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers.loaders import lora_conversion_utils as converters
from torch import nn

from lycoris import Index, Patcher, load, resolve
from lycoris.patcher import StackEntry
from lycoris.tools.convert import convert
from tests.lycoris import test_diffusers as oracle
from tests.lycoris import zoo
from tests.lycoris.keys.models import model
from tests.lycoris.measure import assert_close
from tests.lycoris.tools.test_convert import shapes

pytestmark = pytest.mark.slow

components = oracle.components


@pytest.mark.parametrize("kind", ["locon", "mixed ranks", "dora", "biases"])
def test_diffusers_applies_a_converted_file(components: dict[str, nn.Module], kind: str, tmp_path: Path) -> None:
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
    patcher.swap([StackEntry(adapter)])
    ours = oracle.drawn(components)
    patcher.restore()
    theirs_loader = oracle.Oracle(components)
    theirs_loader.load_lora_weights(str(tmp_path), weight_name="diffusers.safetensors", adapter_name="style")
    theirs = oracle.drawn(components)
    theirs_loader.unload_lora_weights()
    assert (ours - bare).abs().max() > 0.01, "the adapter hardly shows: nothing is compared"
    assert_close(ours, theirs, f"{kind} under diffusers' names, applied by diffusers", torch.float32)


def test_diffusers_reads_kohyas_fused_layers_of_flux_as_the_same_changes() -> None:
    double, single, wide = "transformer_blocks.0", "single_transformer_blocks.0", 3072  # diffusers knows no other width
    rows = {f"{double}.attn.{leaf}": wide for leaf in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_v_proj")}
    rows |= {f"{single}.attn.{leaf}": wide for leaf in ("to_q", "to_k", "to_v")} | {f"{single}.proj_mlp": 4 * wide}
    untouched = {"context_embedder": wide, f"{double}.attn.add_k_proj": wide}
    shapes = {"transformer": {f"{path}.weight": (count, wide) for path, count in (rows | untouched).items()}}
    r = zoo.random(6)
    factors = {path: (r(2, wide), r(count, 2)) for path, count in rows.items()}
    file = {f"transformer.{path}.lora_A.weight": down for path, (down, _) in factors.items()}
    file |= {f"transformer.{path}.lora_B.weight": up for path, (_, up) in factors.items()}
    draft, _ = convert(load(safetensors.torch.save(file)), shapes, "kohya")
    assert all(name.startswith(("lora_unet_double_blocks_0_", "lora_unet_single_blocks_0_")) for name in draft.tensors)
    theirs = converters._convert_kohya_flux_lora_to_diffusers(dict(draft.tensors))
    probe = r(wide)
    for path, (down, up) in factors.items():
        a, b = (theirs[f"transformer.{path}.lora_{half}.weight"] for half in "AB")
        assert_close(b @ (a @ probe), up @ (down @ probe), path, torch.float32)


def test_diffusers_reads_kohyas_names_of_sdxl_as_the_same_layers() -> None:
    index = Index(model("sdxl"))
    unet = {name.removesuffix(".weight"): shape for name, shape in index.shapes["unet"].items()}
    attentions = [path for path in unet if ".attn" in path and path.endswith("to_k")]
    file = {f"unet.{path}.lora_A.weight": torch.ones(1, unet[path][1]) for path in attentions}
    file |= {f"unet.{path}.lora_B.weight": torch.ones(unet[path][0], 1) for path in attentions}
    adapter = load(safetensors.torch.save(file))
    assert len(resolve(adapter, index).targets) == len(attentions)
    draft, _ = convert(adapter, index.shapes, "kohya")
    assert any(name.startswith("lora_unet_input_blocks_4_1_") for name in draft.tensors)
    mapped = converters._maybe_map_sgm_blocks_to_diffusers(dict(draft.tensors), model("sdxl")["unet"].config)
    theirs, _ = converters._convert_non_diffusers_lora_to_diffusers(mapped)
    found = {re.sub(r"[._]lora\..*|\.processor", "", name) for name in theirs}
    assert found == {f"unet.{path}" for path in attentions}
