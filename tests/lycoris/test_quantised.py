"""Layers of libraries that quantise: GGUF as diffusers holds it, and other libraries' where they are at hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lycoris import Bypass, Code, Patcher, Recompute, StackEntry, StackRefused, load, shapes_of
from lycoris.kernels.stored import dense, quantised, storage
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits

WIDE = 64  # rows of GGUF's Q8_0 are blocks of 32 numbers
ALGORITHMS = [name for name, (_, kinds) in zoo.ALGORITHMS.items() if "square" in kinds]


def of_gguf(layer: nn.Linear) -> nn.Module:
    gguf = pytest.importorskip("gguf")
    utils: Any = pytest.importorskip("diffusers.quantizers.gguf.utils")
    kind = gguf.GGMLQuantizationType.Q8_0
    made: Any = utils.GGUFLinear(WIDE, WIDE, bias=True, compute_dtype=torch.float32)
    packed = torch.from_numpy(gguf.quants.quantize(layer.weight.detach().numpy(), kind).copy())
    made.weight, made.bias = utils.GGUFParameter(packed, quant_type=kind), layer.bias
    return made


def of_torchao(layer: nn.Linear) -> nn.Module:
    quantization = pytest.importorskip("torchao.quantization")
    model = nn.Sequential(layer)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    return model[0]


def of_quanto(layer: nn.Linear) -> nn.Module:
    quanto = pytest.importorskip("optimum.quanto")
    model = nn.Sequential(layer)
    quanto.quantize(model, weights=quanto.qint8)
    quanto.freeze(model)
    return model[0]


def of_bitsandbytes(layer: nn.Linear) -> nn.Module:
    bnb = pytest.importorskip("bitsandbytes")
    made: Any = bnb.nn.Linear4bit(WIDE, WIDE, True, torch.float32, quant_type="nf4")
    made.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=made)
    made.bias, made.support_avx512bf16_for_cpu = layer.bias, False
    return made.to("cpu").eval()


LIBRARIES = [of_gguf, of_torchao, of_quanto, of_bitsandbytes]


def linear(seed: int) -> nn.Linear:
    layer, random = nn.Linear(WIDE, WIDE), zoo.random(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(random(*parameter.shape))
    return layer.requires_grad_(False)


@pytest.mark.parametrize("quantise", LIBRARIES)
def test_every_algorithm_is_as_merged_into_the_numbers(quantise: Callable[[nn.Linear], Any]) -> None:
    made, twin, x = quantise(linear(1)), linear(1), zoo.random(2)(3, WIDE)
    model, floats = nn.ModuleDict({"layer": made, "other": quantise(linear(2))}), nn.ModuleDict({"layer": twin})
    twin.weight.copy_(dense(made.weight))
    assert quantised(made.weight) and shapes_of(model)["layer.weight"] == (WIDE, WIDE)
    with torch.inference_mode():
        plain, before = bits(made(x)), [bits(part) for part in storage(made.weight)]
        one, beside, patcher = Recompute({"unet": model}), Bypass({"unet": model}), Patcher({"unet": floats})
        for algorithm in ALGORITHMS:
            stack = [StackEntry(load(zoo.file({"unet.layer": zoo.tensors(algorithm, twin.weight)})), 0.7)]
            patcher.swap(stack)
            for way in (one, *([] if beside.obstacles(stack) else [beside])):
                way.swap(stack)
                assert_close(made(x), twin(x), f"{algorithm} by {type(way).__name__}")
                way.restore()
            assert bits(made(x)) == plain and [bits(part) for part in storage(made.weight)] == before
    assert one.verify() == []


@pytest.mark.parametrize("quantise", LIBRARIES)
def test_a_merge_is_refused_for_what_the_weights_are(quantise: Callable[[nn.Linear], Any]) -> None:
    model = nn.ModuleDict({name: quantise(linear(seed)) for seed, name in enumerate(("layer", "other"))})
    tensors = {f"unet.{name}": zoo.tensors("lora", torch.zeros(WIDE, WIDE)) for name in model}
    with pytest.raises(StackRefused, match="is quantised") as caught:
        Patcher({"unet": model}).swap([StackEntry(load(zoo.file(tensors)))])
    assert [reason.code for reason in caught.value.reasons] == [Code.BAD_DTYPE] * 2
