"""Where backups of pristine weights are kept, and that a change of them is noticed."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lycoris import Adapter, MappedFolder, Patcher, PristineChoice, load
from lycoris.kernels.checksum import checksum
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of


@pytest.fixture(scope="module")
def adapters() -> list[Adapter]:
    return [load(data) for data in zoo.adapters(zoo.Model(), 4)]


def folder(path: Path, model: nn.Module, dtype: torch.dtype | None = None, variant: str = "") -> Path:
    (path / "unet").mkdir(exist_ok=True)
    weights = {name: weight.detach().to(dtype or weight.dtype).clone() for name, weight in model.named_parameters()}
    save_file(weights, path / "unet" / f"diffusion_pytorch_model{variant}.safetensors")
    return path


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize("choice", get_args(PristineChoice))
def test_the_location_decides_no_bit(
    adapters: list[Adapter], choice: PristineChoice, dtype: torch.dtype, tmp_path: Path
) -> None:
    model, plain = zoo.Model(dtype), zoo.Model(dtype)
    pristine = bits_of(model)
    patcher = Patcher({"unet": model}, pristine=choice, find=MappedFolder(folder(tmp_path, model)))
    for adapter in adapters:
        patcher.swap(
            [StackEntry(adapter, 0.7), StackEntry(adapters[0], 0.2)]
            if adapter is not adapters[0]
            else [StackEntry(adapter)]
        )
        fresh = Patcher({"unet": plain})
        fresh.swap(patcher.active)
        assert bits_of(model) == bits_of(plain)
        fresh.restore()
        assert patcher.verify() == []
    patcher.restore()
    assert bits_of(model) == pristine
    locations = {location for location, size in patcher.pristine_bytes.items() if size}
    assert locations == {"file" if choice in ("auto", "file") else choice}


@pytest.mark.parametrize("algorithm", [name for name, (_, kinds) in zoo.ALGORITHMS.items() if "square" in kinds])
def test_where_a_weight_begins_in_its_file_decides_no_bit(algorithm: str, tmp_path: Path) -> None:
    """Safetensors begin a tensor at any multiple of 8 bytes; fresh memory begins at multiples of 64."""
    weight = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    adapter = load(zoo.file({"lora_unet_x": zoo.tensors(algorithm, weight)}))
    seen = set()
    for padding in range(3):
        path = tmp_path / str(padding)
        (path / "unet").mkdir(parents=True)
        held = {"x.bias": torch.zeros(96), "x.weight": weight}
        save_file(held, path / "unet" / "model.safetensors", metadata={"padding": "x" * 8 * padding})
        for choice in ("host", "file"):
            model = nn.ModuleDict({"x": nn.Linear(96, 96)})
            model.load_state_dict(held)
            Patcher({"unet": model}, choice, MappedFolder(path)).swap([StackEntry(adapter, 0.7)])
            seen.add(tuple(bits_of(model).values()))
    assert len(seen) == 1


def test_a_file_that_is_not_read_here_is_none_of_the_bases(adapters: list[Adapter], tmp_path: Path) -> None:
    model = zoo.Model()
    find = folder(tmp_path, model)
    (tmp_path / "vae").mkdir()
    save_file({"empty": torch.zeros(0)}, tmp_path / "vae" / "model.safetensors")
    patcher = Patcher({"unet": model}, "file", MappedFolder(find))
    patcher.swap([StackEntry(adapters[0])])
    assert patcher.pristine_bytes["file"]


def test_a_file_in_another_dtype_is_taken_as_loading_takes_it(adapters: list[Adapter], tmp_path: Path) -> None:
    """Files in float32 of a model in bfloat16; one of two variants that has the bits is enough."""
    model = zoo.Model(torch.bfloat16)
    folder(tmp_path, zoo.Model(), variant=".other")
    with torch.no_grad():
        for weight in (wide := zoo.Model()).parameters():
            weight.mul_(1.001)
        for weight, source in zip(model.parameters(), wide.parameters(), strict=True):
            weight.copy_(source)
    find = MappedFolder(folder(tmp_path, wide))
    pristine = bits_of(model)
    patcher = Patcher({"unet": model}, pristine="file", find=find)
    patcher.swap([StackEntry(adapters[1])])
    assert patcher.pristine_bytes["host"] == 0
    twin = zoo.Model(torch.bfloat16)
    twin.load_state_dict({name: weight.to(torch.bfloat16) for name, weight in wide.state_dict().items()})
    Patcher({"unet": twin}).swap([StackEntry(adapters[1])])
    assert bits_of(model) == bits_of(twin), "the weight was seen as its file has it, not as the model has it"
    patcher.restore()
    assert bits_of(model) == pristine


def test_a_weight_that_differs_from_its_file_in_a_bit_is_copied_to_memory(
    adapters: list[Adapter], tmp_path: Path
) -> None:
    model = zoo.Model()
    find = MappedFolder(folder(tmp_path, model))
    odd = model.get_parameter("layers.linear.weight")
    with torch.no_grad():
        odd[0, 0] = -0.0 if odd[0, 0] != 0 else 1.0
    pristine = bits_of(model)
    patcher = Patcher({"unet": model}, pristine="file", find=find)
    patcher.swap([StackEntry(adapters[0])])
    assert patcher.pristine_bytes["host"] == odd.nbytes
    assert patcher.pristine_bytes["file"] > 0
    patcher.restore()
    assert bits_of(model) == pristine


def test_an_unknown_location_is_refused() -> None:
    with pytest.raises(ValueError, match="device, host, file"):
        Patcher({"unet": zoo.Model()}, pristine="cloud")  # type: ignore[arg-type]


def test_any_changed_element_changes_the_checksum() -> None:
    for shape, dtype in (((3, 5), torch.float16), ((70, 90), torch.float32), ((5000,), torch.bfloat16)):
        rows = torch.randn(shape).to(dtype)
        before = checksum(rows)
        assert checksum(rows.clone()) == before
        flat = rows.view(-1).view(torch.uint8)
        for place in (0, len(flat) // 2, len(flat) - 1):
            flat[place] ^= 1
            assert checksum(rows) != before, f"{dtype} {shape}: byte {place}"
            flat[place] ^= 1
        assert checksum(rows) == before
    rows = torch.randn(2, 1 << 11)
    assert checksum(rows) != checksum(rows.flip(0)), "exchanged rows"


def test_a_changed_backup_is_noticed(adapters: list[Adapter]) -> None:
    patcher = Patcher({"unet": zoo.Model()})
    patcher.swap([StackEntry(adapters[0])])
    assert patcher.verify() == []
    backup = next(one for one in patcher._backups.values() if one.parameter == "layers.conv3x3.weight")
    backup.pristine.view(-1)[3] += 1e-6
    assert patcher.verify() == ["unet.layers.conv3x3.weight"]


def test_an_unpatched_weight_that_is_not_pristine_is_noticed(adapters: list[Adapter]) -> None:
    patcher = Patcher({"unet": (model := zoo.Model())})
    patcher.swap([StackEntry(adapters[0])])
    patcher.restore()
    assert patcher.verify() == []
    with torch.no_grad():
        model.get_parameter("layers.square.weight")[1, 1] += 1
    assert patcher.verify() == ["unet.layers.square.weight"]


def test_a_sample_at_a_time_comes_round_to_every_weight(adapters: list[Adapter]) -> None:
    patcher = Patcher({"unet": zoo.Model()})
    patcher.swap([StackEntry(adapters[0])])
    for backup in patcher._backups.values():
        backup.pristine.view(-1)[0] += 1
    found: set[str] = set()
    for _ in patcher._backups:
        found |= set(patcher.verify(seconds=0))
    assert len(found) == len(patcher._backups), "one block a call, none twice before every other"
