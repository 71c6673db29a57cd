"""What is quantised is told by type as well as by dtype, and read as the numbers that it stands for."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris import Code, Patcher, StackEntry, StackRefused, load
from lycoris.kernels.stored import dense, quantised, readable, storage
from tests.lycoris import zoo
from tests.lycoris.measure import bits


class Int8(Tensor):
    """Integers and a scale that call themselves float32, at no address: as torchao's and quanto's tensors do."""

    data_: Tensor
    scale: Tensor

    def __new__(cls, data: Tensor, scale: Tensor) -> "Int8":
        made: Any = torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=scale.dtype)  # type: ignore[attr-defined]
        made.data_, made.scale = data, scale
        return made

    @classmethod
    def of(cls, weight: Tensor) -> "Int8":
        scale = weight.detach().abs().amax(tuple(range(1, weight.ndim)), keepdim=True) / 127
        return cls((weight.detach() / scale).round().to(torch.int8), scale)

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["data_", "scale"], None

    def dequantize(self) -> Tensor:
        return self.data_ * self.scale

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].data_, args[0].scale)
        plain = [each.dequantize() if isinstance(each, Int8) else each for each in args]
        return func(*plain, **(kwargs or {}))


def quantise(layer: nn.Module) -> nn.Module:
    """Store a layer's weight in eight bits."""
    layer.register_parameter("weight", nn.Parameter(Int8.of(layer.get_parameter("weight")), requires_grad=False))
    return layer


def test_by_type_and_by_dtype() -> None:
    plain = torch.ones(2, 3)
    assert not any(map(quantised, (plain, nn.Parameter(plain), plain.to(torch.bfloat16), plain.double())))
    assert all(map(quantised, (Int8.of(plain), plain.to(torch.int8), plain.to(torch.float8_e4m3fn))))
    assert readable(plain) and readable(Int8.of(plain)) and not readable(plain.to(torch.int8))
    assert dense(plain).data_ptr() == plain.data_ptr(), "a float weight is not copied"
    with pytest.raises(TypeError, match="int8"):
        dense(plain.to(torch.int8))


def test_the_parts_of_a_quantised_weight_are_its_storage() -> None:
    weight = zoo.random(1)(4, 6)
    stored = Int8.of(weight)
    assert [bits(part) for part in storage(stored)] == [bits(stored.data_), bits(stored.scale)]
    assert [part.data_ptr() for part in storage(weight)] == [weight.data_ptr()]
    assert torch.allclose(dense(stored), weight, atol=0.02) and dense(stored).dtype == torch.float32


def test_two_of_them_at_one_address_are_refused_for_what_they_are() -> None:
    layers = {name: quantise(zoo.layer("square", seed=seed)) for seed, name in enumerate(("layer", "other"))}
    assert len({layer.get_parameter("weight").data_ptr() for layer in layers.values()}) == 1
    files = {f"unet.{name}": zoo.tensors("lora", torch.zeros(8, 8)) for name in layers}
    with pytest.raises(StackRefused) as caught:
        Patcher({"unet": nn.ModuleDict(layers)}).swap([StackEntry(load(zoo.file(files)))])
    assert [reason.code for reason in caught.value.reasons] == [Code.BAD_DTYPE] * 2
