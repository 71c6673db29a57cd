"""The reference libraries' own forward passes against layers patched here (goldens/README.md: how they were made)."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris import Patcher, load
from lycoris.dialects.adapter_config import FAMILIES
from lycoris.files.peft_folder import CONFIG, WEIGHTS
from lycoris.patcher import StackEntry
from tests.lycoris.files.test_peft_folder import zipped
from tests.lycoris.measure import assert_close, bits_of

GOLDENS = Path(__file__).parent / "goldens" / "goldens.safetensors"
with safetensors.safe_open(GOLDENS, "pt") as golden_file:
    CASES = json.loads(golden_file.metadata()["cases"])
PARTS: dict[str, dict[str, Tensor]] = defaultdict(dict)
for key, tensor in safetensors.torch.load_file(GOLDENS).items():
    case, _, part = key.partition("/")
    PARTS[case][part] = tensor
ALGORITHMS = sorted({facts["algorithm"] for facts in CASES.values()})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_patched_layers_compute_what_the_reference_computes(algorithm: str) -> None:
    cases = {name: facts for name, facts in CASES.items() if facts["algorithm"] == algorithm}
    worst = max(_error(name, facts) for name, facts in cases.items())
    print(f"{algorithm}: {len(cases)} goldens, largest difference {worst:.2e}")


def test_every_algorithm_has_a_golden() -> None:
    held = {suffix for parts in PARTS.values() for suffix in parts if suffix.startswith("adapter/")}
    assert len(CASES) == len(PARTS) >= 270
    assert {"adapter/lora_mid.weight", "adapter/hada_t1", "adapter/lokr_t2", "adapter/dora_scale"} <= held
    assert {"adapter/lokr_w1_a", "adapter/diff_b", "adapter/w_norm", "adapter/alpha"} <= held
    assert {"adapter/on_input", "adapter/a1.weight", "adapter/rescale", "adapter/lambda_layer"} <= held
    assert {facts["config"]["peft_type"] for facts in CASES.values() if "config" in facts} == set(FAMILIES)


def golden_adapter(name: str) -> bytes:
    """Return the file that the reference wrote, for a model whose one layer is called golden."""
    saved = {part.removeprefix("adapter/"): held for part, held in PARTS[name].items() if part.startswith("adapter/")}
    own_names = any(suffix.startswith("base_model.") for suffix in saved)
    file = {suffix if own_names else f"lora_unet_golden.{suffix}": tensor for suffix, tensor in saved.items()}
    data, config = safetensors.torch.save(file), CASES[name].get("config")
    return zipped({WEIGHTS: data, CONFIG: json.dumps(config)}) if config else data


def _error(name: str, facts: dict) -> float:
    parts = PARTS[name]
    layer = getattr(nn, facts["layer"])(**facts["arguments"]).eval()
    layer.load_state_dict({name: parts[name] for name, _ in layer.named_parameters()})
    model = nn.ModuleDict({"golden": layer})
    before = bits_of(model)
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(load(golden_adapter(name)), facts["strength"])])
    assert bits_of(model) != before, f"{name}: nothing was applied"
    with torch.no_grad():
        error = assert_close(layer(parts["x"]), parts["y"], name)
    patcher.restore()
    assert bits_of(model) == before
    return error
