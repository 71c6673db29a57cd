"""What README.md says of others, where they can be asked here: diffusers 0.42 and PEFT 0.21 beside the same files."""

import copy
import logging
import warnings
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris import FileRefused, NoPlace, Patcher, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, relative_error
from tests.lycoris.test_diffusers import Oracle, components, drawn

peft = pytest.importorskip("peft")
__all__ = ["components"]  # the fixture
PREFIX = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_"
CLIP = "lora_te_text_model_encoder_layers_0_self_attn_"
REFUSED_BY_DIFFUSERS = (
    *(
        "lora-tucker",
        "loha",
        "lokr-low",
        "full",
        "ia3-output",
        "glora",
        "oft",
        "boft",
        "hira",
        "tlora",
        "lora-with-bias",
    ),
    "lora-sparse",
)
Parts = dict[str, nn.Module]


def file_of(algorithm: str, shape: tuple[int, ...] = (32, 32)) -> zoo.Tensors:
    kernel = (*shape, 3, 3) if algorithm.endswith("tucker") else shape
    group = zoo.tensors(algorithm, torch.empty(kernel))
    return {f"{PREFIX}q.{suffix}": tensor for suffix, tensor in group.items()}


def ours(components: Parts, file: zoo.Tensors) -> Tensor:
    patcher = Patcher(components)
    patcher.swap([StackEntry(load(safetensors.torch.save(file)))])
    picture = drawn(components)
    patcher.restore()
    return picture


def theirs(components: Parts, file: zoo.Tensors) -> Tensor:
    parts = copy.deepcopy(components)
    Oracle(parts).load_lora_weights(dict(file), adapter_name="style")
    return drawn(parts)


def in_peft(layer: nn.Module, config: object) -> Any:
    torch.manual_seed(0)
    model = peft.get_peft_model(nn.Sequential(layer), config)
    with torch.no_grad(), warnings.catch_warnings():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape) * 0.3
                parameter.copy_(parameter * (1 + noise) if "magnitude" in name else noise)
    return model.eval()


def test_diffusers_drops_the_magnitude_and_draws_a_plain_lora(
    components: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    file = file_of("dora-lora-output")
    plain = {name: tensor for name, tensor in file.items() if "dora_scale" not in name}
    with caplog.at_level(logging.ERROR):
        assert_close(theirs(components, file), ours(components, plain), "diffusers, of a DoRA")
    apart = relative_error(theirs(components, file), ours(components, file))
    print(f"diffusers is {apart:.3f} from the DoRA that the file holds")
    assert apart > 1e-3


@pytest.mark.parametrize("algorithm", REFUSED_BY_DIFFUSERS)
def test_diffusers_refuses_what_is_read_here(components: Parts, algorithm: str) -> None:
    file = file_of(algorithm)
    assert load(safetensors.torch.save(file)).layers
    with pytest.raises((ValueError, KeyError, RuntimeError, IndexError, AttributeError)) as caught:
        theirs(components, file)
    print(f"{algorithm}: {type(caught.value).__name__}: {str(caught.value)[:100]}")


@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match")  # PEFT notices the loss
def test_diffusers_has_one_alpha_for_a_whole_text_encoder(components: Parts) -> None:
    file: zoo.Tensors = {}
    for seed, leaf in enumerate(("q_proj", "k_proj", "v_proj", "out_proj")):
        group = zoo.tensors("lora", torch.empty(16, 16), seed) | {"alpha": torch.tensor(float(1 + 3 * seed))}
        file |= {f"{CLIP}{leaf}.{suffix}": tensor for suffix, tensor in group.items()}
    apart = relative_error(theirs(components, file), ours(components, file))
    print(f"diffusers is {apart:.3f} from the scales that the file holds")
    assert apart > 1e-4


def test_pefts_dora_changes_the_weight_at_strength_0() -> None:
    layer, x = zoo.layer("linear"), torch.randn(3, 12)
    bare = layer(x).detach()
    model = in_peft(layer, peft.LoraConfig(r=3, target_modules=["0"], use_dora=True))
    for module in model.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", 0.0)
    apart = relative_error(model(x).detach(), bare)
    print(f"PEFT at strength 0 is {apart:.3f} from the bare layer")
    assert apart > 0.01


def test_pefts_oft_over_a_kernel_is_no_convolution_and_is_refused_here() -> None:
    x = torch.randn(1, 4, 6, 6)
    config = peft.OFTConfig(target_modules=["0"], oft_block_size=4, init_weights=False, use_cayley_neumann=False)
    model = in_peft(zoo.layer("conv3x3"), config)
    forward = model(x).detach()
    weights = peft.get_peft_model_state_dict(model)
    file = {f"lora_unet_x.{name.partition('.0.')[2]}": tensor.clone() for name, tensor in weights.items()}
    merged = model.merge_and_unload()(x).detach()
    print(f"PEFT's forward is {relative_error(forward, merged):.2f} from its own merge")
    assert relative_error(forward, merged) > 0.1
    adapter = load(safetensors.torch.save(file | {"lora_unet_x.neumann_terms": torch.tensor(0)}))
    with pytest.raises(NoPlace, match="no convolution"):
        Patcher({"unet": nn.ModuleDict({"x": zoo.layer("conv3x3")})}).swap([StackEntry(adapter)])


def test_the_two_forms_of_pefts_oft_turn_in_opposite_directions() -> None:
    x = torch.randn(3, 12)
    bare = zoo.layer("linear")
    results = []
    for neumann in (False, True):
        config = peft.OFTConfig(target_modules=["0"], oft_block_size=4, use_cayley_neumann=neumann)
        results.append(in_peft(copy.deepcopy(bare), config)(x).detach())
    apart = relative_error(results[0], results[1])
    print(f"one file, two meanings, {apart:.2f} apart: refused without the configuration")
    assert apart > 0.1
    with pytest.raises(FileRefused, match="neumann_terms"):
        load(safetensors.torch.save({"base_model.model.x.oft_R.weight": torch.ones(3, 6)}))
