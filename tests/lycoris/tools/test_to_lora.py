"""Any change as a LoRA: exact at full rank, the best of its rank below, and the reported loss is the loss."""

from math import hypot
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lycoris import Adapter, load
from lycoris.files.model_folder import default_shapes, variants_of
from lycoris.tools.lowrank import Budget, Loss, total
from lycoris.tools.to_lora import to_lora
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits
from tests.lycoris.placement.test_views import LINEAR1, flux
from tests.lycoris.tools.folders import changes, write
from tests.tolerances import RELATIVE

ADDITIVE = (
    "lora",
    "lora-tucker",
    "lora-sparse",
    "loha",
    "loha-tucker",
    "lokr-whole",
    "lokr-low",
    "lokr-tucker",
    "full",
)


def lowered(
    adapter: Adapter, components: dict[str, nn.Module], budget: Budget, folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[Adapter, list[Loss], list[str]]:
    """Return the adapter as a LoRA, written and read, with its losses and notes."""
    variants = variants_of(write(folder / f"model{len(list(folder.iterdir()))}", components))
    draft, losses, notes = to_lora(adapter, variants, budget, dtype=dtype)
    draft.write(folder / "lora.safetensors", force=True, components=default_shapes(variants))
    return load(folder / "lora.safetensors"), losses, notes


def of(algorithm: str, model: nn.Module) -> Adapter:
    kinds = zoo.ALGORITHMS[algorithm][1]
    weights = {kind: model.get_parameter(f"layers.{kind}.weight") for kind in kinds}
    return load(zoo.file({f"lora_unet_layers_{kind}": zoo.tensors(algorithm, w) for kind, w in weights.items()}))


@pytest.mark.parametrize("algorithm", [*ADDITIVE, "norm", "dora-lora-output", "oft", "glora", "ia3-input"])
def test_at_full_rank_nothing_is_lost(algorithm: str, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    adapter = of(algorithm, components["unet"])
    lora, losses, notes = lowered(adapter, components, Budget(rank=64), tmp_path)
    before, after = changes(components, adapter), changes(components, lora)
    for name, change in before.items():
        assert_close(after[name], change, name, torch.float32)
    assert total(losses) < RELATIVE["float32"]
    assert set(lora.algorithms) <= {"lora", "locon", "full"}
    assert bool(notes) == (algorithm not in (*ADDITIVE, "norm")), (
        "a note is for changes that depend on the weight, and only for them"
    )


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_reported_loss_is_the_loss(rank: int, dtype: torch.dtype, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    adapter = of("loha", components["unet"])
    lora, losses, _ = lowered(adapter, components, Budget(rank=rank), tmp_path, dtype)
    assert max(loss.rank for loss in losses) == rank
    before, after = changes(components, adapter), changes(components, lora)
    measured = {name: float((after[name] - change).norm()) for name, change in before.items()}
    sizes = {name: float(change.norm()) for name, change in before.items()}
    for loss in losses:
        found, reported = measured[loss.layer] / sizes[loss.layer], loss.relative
        print(f"{loss.layer}: reported {reported:.6f}, measured {found:.6f}")
        assert abs(found - reported) < 10 * RELATIVE["float32"]
    assert abs(total(losses) - hypot(*measured.values()) / hypot(*sizes.values())) < 10 * RELATIVE["float32"]


def test_no_lora_of_the_rank_is_nearer(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    _, losses, _ = lowered(of("full", components["unet"]), components, Budget(rank=3), tmp_path)
    change = changes(components, of("full", components["unet"]))
    for loss in losses:
        singular = torch.linalg.svdvals(change[loss.layer].flatten(1).double())
        assert abs(loss.lost - float(singular[3:].norm())) < 10 * RELATIVE["float32"] * loss.size


def test_a_lora_within_the_rank_is_not_touched(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    adapter = of("lora", components["unet"])
    lora, losses, _ = lowered(adapter, components, Budget(rank=zoo.RANK), tmp_path)
    assert losses == []
    ours, theirs = (factors(one) for one in (lora, adapter))
    assert {name: bits(tensor) for name, tensor in ours.items()} == {name: bits(t) for name, t in theirs.items()}
    _, losses, _ = lowered(adapter, components, Budget(rank=zoo.RANK - 1), tmp_path)
    assert len(losses) == len(adapter.layers)


def factors(adapter: Adapter) -> dict[str, Tensor]:
    return {
        f"{layer.name}.{suffix}": tensor
        for layer in adapter.layers
        for suffix, tensor in layer.changes["weight"].tensors().items()
    }


def test_energy_is_what_is_kept(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    _, losses, _ = lowered(of("full", components["unet"]), components, Budget(energy=0.9), tmp_path)
    change = changes(components, of("full", components["unet"]))
    for loss in losses:
        assert loss.relative**2 <= 0.1 + RELATIVE["float32"]
        singular = torch.linalg.svdvals(change[loss.layer].flatten(1).double()).square()
        assert singular[: loss.rank - 1].sum() < 0.9 * singular.sum(), "one less would have done"


@pytest.mark.parametrize("algorithm", ["loha", "lokr-both", "dora-lora-input"])
def test_a_fused_layer_is_divided(algorithm: str, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"transformer": flux(torch.float32)}
    adapter = load(zoo.file({LINEAR1: zoo.tensors(algorithm, torch.empty(24, 12))}))
    lora, _, _ = lowered(adapter, components, Budget(rank=12), tmp_path)
    before, after = changes(components, adapter), changes(components, lora)
    for name, change in before.items():
        assert_close(after[name], change, name, torch.float32)
