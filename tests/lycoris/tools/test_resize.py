"""A lower rank under the same names: nothing is lost within the rank, and the reported loss is the loss."""

import json

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris import Adapter, Code, load
from lycoris.errors import ToolRefused
from lycoris.tools.lowrank import Budget
from lycoris.tools.resize import resize
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits
from tests.lycoris.tools.folders import changes
from tests.tolerances import RELATIVE

LORAS = ("lora", "lora-scaled", "lora-without-alpha", "lora-with-bias", "lora-peft-bias", "lora-tucker", "lora-sparse")


def of(algorithm: str, model: nn.Module) -> bytes:
    weights = {kind: model.get_parameter(f"layers.{kind}.weight") for kind in zoo.ALGORITHMS[algorithm][1]}
    return zoo.file({f"lora_unet_layers_{kind}": zoo.tensors(algorithm, w) for kind, w in weights.items()})


def redundant(data: bytes) -> bytes:
    """Return the same LoRA at twice the rank: every factor twice, halved."""
    tensors = safetensors.torch.load(data)
    for name in [name for name in tensors if name.endswith("lora_up.weight")]:
        module = name.removesuffix(".lora_up.weight")
        down, alpha = f"{module}.lora_down.weight", f"{module}.alpha"
        tensors[name] = torch.cat([tensors[name]] * 2, dim=1)
        tensors[down] = torch.cat([tensors[down]] * 2) / 2
        tensors[alpha] = tensors[alpha] * 2
    return safetensors.torch.save(tensors, {"ss_network_dim": "6", "ss_network_alpha": "3.0"})


def resized(data: bytes, budget: Budget) -> tuple[Adapter, list[float], dict[str, Tensor]]:
    draft, losses, _ = resize(load(data), safetensors.torch.load(data), budget)
    tensors = {name: tensor.contiguous() for name, tensor in draft.tensors.items()}
    again = load(safetensors.torch.save(tensors, dict(draft.metadata)))
    return again, [loss.relative for loss in losses], tensors


def test_half_of_twice_is_the_same() -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    data = of("lora", components["unet"])
    small, losses, _ = resized(redundant(data), Budget(rank=zoo.RANK))
    assert small.ranks == (zoo.RANK,)
    print(f"largest loss {max(losses):.1e}")
    assert max(losses) < RELATIVE["float32"]
    before, after = changes(components, load(data)), changes(components, small)
    for name, change in before.items():
        assert_close(after[name], change, name, torch.float32)
    gammas = {layer.changes["weight"].tensors()["alpha"].item() / zoo.RANK for layer in small.layers}
    assert gammas == {zoo.ALPHA / zoo.RANK}, "alpha/rank is another one"
    assert small.metadata["ss_network_dim"] == str(zoo.RANK)
    assert float(small.metadata["ss_network_alpha"]) == zoo.ALPHA


def test_all_of_the_energy_is_all_of_the_change() -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    for algorithm in LORAS:
        data = of(algorithm, components["unet"])
        small, losses, tensors = resized(data, Budget(energy=1.0))
        assert max(losses) < RELATIVE["float32"]
        before, after = changes(components, load(data)), changes(components, small)
        for name, change in before.items():
            assert_close(after[name], change, f"{algorithm}, {name}", torch.float32)
        kept = {name for name in safetensors.torch.load(data) if "lora_mid" not in name}
        assert set(tensors) == kept, "names have changed"


@pytest.mark.parametrize("algorithm", LORAS)
@pytest.mark.parametrize("rank", [1, 2])
def test_the_reported_loss_is_the_loss(algorithm: str, rank: int) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    data = of(algorithm, components["unet"])
    draft, losses, _ = resize(load(data), safetensors.torch.load(data), Budget(rank=rank))
    tensors = {name: tensor.contiguous() for name, tensor in draft.tensors.items()}
    before = changes(components, load(data))
    after = changes(components, load(safetensors.torch.save(tensors)))
    for loss in losses:
        name = f"unet.{loss.layer.removeprefix('unet.').replace('layers_', 'layers.')}.weight"
        measured = float((after[name] - before[name]).norm())
        print(f"{name}: reported {loss.lost:.6f}, measured {measured:.6f}")
        assert abs(measured - loss.lost) < 10 * RELATIVE["float32"] * loss.size
    assert {loss.rank for loss in losses} == {rank}


def test_what_is_within_the_rank_stays_bit_for_bit() -> None:
    data = of("lora", zoo.Model())
    stored = safetensors.torch.load(data)
    _, losses, tensors = resized(data, Budget(rank=zoo.RANK))
    assert losses == []
    assert {name: bits(tensor) for name, tensor in tensors.items()} == {n: bits(t) for n, t in stored.items()}


def test_layers_of_other_algorithms_stay() -> None:
    model = zoo.Model()
    layers = {
        "lora_unet_layers_linear": zoo.tensors("lora", model.get_parameter("layers.linear.weight")),
        "lora_unet_layers_square": zoo.tensors("loha", model.get_parameter("layers.square.weight")),
    }
    data = zoo.file(layers)
    draft, _, notes = resize(load(data), safetensors.torch.load(data), Budget(rank=1))
    assert all(bits(draft.tensors[n]) == bits(t) for n, t in safetensors.torch.load(data).items() if "square" in n)
    assert notes == ["kept as they are: loha 1"]


def test_an_embedding_keeps_its_names_and_their_transposed_shapes() -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    a, b = torch.randn(2, 12), torch.randn(8, 2)
    start = "unet.layers.embedding.lora_embedding"
    data = safetensors.torch.save({f"{start}_A": torch.cat([a, a]) / 2, f"{start}_B": torch.cat([b, b], dim=1)})
    small, losses, tensors = resized(data, Budget(rank=2))
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        f"{start}_A": (2, 12),
        f"{start}_B": (8, 2),
    }
    assert max(losses) < RELATIVE["float32"]
    change = changes(components, small)["unet.layers.embedding.weight"]
    assert_close(change, (b @ a).T.double(), "an embedding resized", torch.float32)


def test_without_a_lora_or_with_a_scale_elsewhere_it_is_refused() -> None:
    data = of("loha", zoo.Model())
    with pytest.raises(ToolRefused, match="--to-lora") as refusal:
        resize(load(data), safetensors.torch.load(data), Budget(rank=1))
    assert [reason.code for reason in refusal.value.reasons] == [Code.NO_FORM]
    tensors = {
        "unet.layers.square.lora_A.weight": torch.ones(2, 8),
        "unet.layers.square.lora_B.weight": torch.ones(8, 2),
    }
    data = safetensors.torch.save(tensors, {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 8})})
    with pytest.raises(ToolRefused, match="convert it first"):
        resize(load(data), safetensors.torch.load(data), Budget(rank=1))
