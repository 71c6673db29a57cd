"""A merged folder is what the patcher makes of the live model, to the bit, and every other byte is the base's."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lycoris import AdapterError, Code, FileRefused, NoPlace, StackRefused, load
from lycoris.errors import ToolRefused
from lycoris.files.model_folder import variants_of
from lycoris.patcher import StackEntry
from lycoris.tools.merge import RECORD, merge
from tests.lycoris import zoo
from tests.lycoris.measure import bits
from tests.lycoris.placement.test_views import LINEAR1, flux
from tests.lycoris.tools.folders import NAME, Encoder, patched, read, write


def same_bits(folder: Path, expected: dict[str, torch.Tensor]) -> int:
    """Assert that a folder's weights are these, bit for bit; return how many there are."""
    found = read(folder)
    assert found.keys() == expected.keys()
    other = [name for name, weight in expected.items() if bits(found[name]) != bits(weight)]
    assert not other, f"not the same bits: {other}"
    return len(found)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_every_algorithm_as_the_patcher_applies_it(tmp_path: Path, dtype: torch.dtype, shards: int) -> None:
    components = {"unet": zoo.Model(dtype), "text_encoder": Encoder(dtype)}
    base = write(tmp_path / "base", components, shards)
    stack = [
        StackEntry(load(data), strength)
        for data, strength in zip(zoo.adapters(zoo.Model(), 8), [0.3, -1] * 4, strict=True)
    ]
    words = zoo.file({"lora_te_text_model_encoder_layers_0_mlp_fc1": zoo.tensors("lora", torch.empty(16, 8))})
    stack.append(StackEntry(load(words), 1.0, {"text_encoder": 0.5}))
    done = merge(base, stack, tmp_path / "out")
    expected = patched(components, *stack)
    assert same_bits(tmp_path / "out", expected) == len(expected)
    assert done.components == ("unet", "text_encoder") or done.components == ("text_encoder", "unet")
    for path in base.rglob("*"):
        twin = tmp_path / "out" / path.relative_to(base)
        if path.is_file() and path.suffix != ".safetensors":
            assert twin.read_bytes() == path.read_bytes()
        elif path.is_file():
            size = int.from_bytes(path.read_bytes()[:8], "little") + 8
            assert twin.read_bytes()[:size] == path.read_bytes()[:size], "the header is another one"
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert [one["sha256"] for one in record["adapters"]] == [entry.adapter.sha256 for entry in stack]


def test_in_sequence_it_is_what_the_patcher_applies_in_sequence(tmp_path: Path) -> None:
    components = {"unet": zoo.Model(torch.float16)}
    base = write(tmp_path / "base", components)
    # By sha256 they come in another order, which would make another folder
    stack = sorted(
        (StackEntry(load(data), 0.8) for data in zoo.adapters(zoo.Model(), 8)), key=lambda w: w.adapter.sha256
    )
    stack.reverse()
    merge(base, stack, tmp_path / "out", mode="sequential")
    expected = patched(components, *stack, mode="sequential")
    assert same_bits(tmp_path / "out", expected) == len(expected)
    assert any(bits(weight) != bits(expected[name]) for name, weight in patched(components, *stack).items())
    assert json.loads((tmp_path / "out" / RECORD).read_text())["mode"] == "sequential"


@pytest.mark.parametrize("algorithm", ["lora", "lokr-both", "dora-lora-input"])
def test_a_fused_layer_over_several_files(tmp_path: Path, algorithm: str) -> None:
    model = flux(torch.bfloat16)
    base = write(tmp_path / "base", {"transformer": model}, shards=4)
    entry = StackEntry(load(zoo.file({LINEAR1: zoo.tensors(algorithm, torch.empty(24, 12))})), 0.7)
    assert merge(base, [entry], tmp_path / "out").parameters >= 4
    same_bits(tmp_path / "out", patched({"transformer": model}, entry))


def test_variants_are_merged_each_from_its_own_weights(tmp_path: Path) -> None:
    full, half = zoo.Model(), zoo.Model(torch.float16)
    base = write(tmp_path / "base", {"unet": full})
    state = {name: weight.detach() for name, weight in half.named_parameters()}
    safetensors.torch.save_file(state, base / "unet" / f"{NAME}.fp16.safetensors")
    (base / "unet" / f"{NAME}.bin").write_bytes(b"pickle")
    entry = StackEntry(load(next(zoo.adapters(zoo.Model(), 1))), 0.9)
    done = merge(base, [entry], tmp_path / "out")
    assert done.stale == (f"unet/{NAME}.bin",)
    for model, file in ((full, f"{NAME}.safetensors"), (half, f"{NAME}.fp16.safetensors")):
        found = safetensors.torch.load_file(tmp_path / "out" / "unet" / file)
        for name, weight in patched({"unet": model}, entry).items():
            assert bits(found[name.removeprefix("unet.")]) == bits(weight), (file, name)


def test_no_strength_changes_nothing(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"unet": zoo.Model()})
    assert merge(base, [StackEntry(load(next(zoo.adapters(zoo.Model(), 1))), 0.0)], tmp_path / "out").parameters == 0
    same_bits(tmp_path / "out", read(base))


def test_a_merged_folder_can_be_merged_again(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"unet": zoo.Model()})
    first, second = (StackEntry(load(data)) for data in zoo.adapters(zoo.Model(), 2))
    merge(base, [first], tmp_path / "one")
    merge(tmp_path / "one", [second], tmp_path / "two")
    lines = [json.loads(line) for line in (tmp_path / "two" / RECORD).read_text().splitlines()]
    assert [line["base"] for line in lines] == ["base", "one"]


def _refused(tmp_path: Path, stack: list[StackEntry], error: type[AdapterError], code: Code, out: str = "out") -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error) as refusal:
        merge(tmp_path / "base", stack, tmp_path / out)
    assert code in {reason.code for reason in refusal.value.reasons}, refusal.value
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"


def test_what_cannot_be_merged_leaves_nothing_behind(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"unet": zoo.Model(torch.float16)})
    entry = StackEntry(load(next(zoo.adapters(zoo.Model(), 1))))
    stranger = StackEntry(load(zoo.file({"lora_unet_gone": zoo.tensors("full", torch.empty(2, 2))})))
    huge = StackEntry(load(zoo.file({"lora_unet_layers_square": {"diff": torch.full((8, 8), 1e30)}})))
    _refused(tmp_path, [entry, entry], StackRefused, Code.REPEATED_ADAPTER)
    _refused(tmp_path, [StackEntry(entry.adapter, float("nan"))], StackRefused, Code.BAD_STRENGTH)
    _refused(tmp_path, [StackEntry(entry.adapter, 1.0, {"vae": 1.0})], StackRefused, Code.BAD_STRENGTH)
    _refused(tmp_path, [huge], StackRefused, Code.NOT_FINITE)
    _refused(tmp_path, [entry, stranger], NoPlace, Code.NO_MODULE)
    _refused(tmp_path, [entry], ToolRefused, Code.EXISTS, out="base")
    _refused(tmp_path, [entry], ToolRefused, Code.EXISTS, out="base/unet/new")
    _refused(tmp_path, [entry], ToolRefused, Code.EXISTS, out="")
    (base / "unet" / f"{NAME}-00001-of-00002.safetensors").write_bytes((base / f"unet/{NAME}.safetensors").read_bytes())
    _refused(tmp_path, [entry], FileRefused, Code.DUPLICATE)


def test_only_a_model_is_replaced_and_only_by_force(tmp_path: Path) -> None:
    base, entry = write(tmp_path / "base", {"unet": zoo.Model()}), StackEntry(load(next(zoo.adapters(zoo.Model(), 1))))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_text("meow")
    with pytest.raises(ToolRefused):
        merge(base, [entry], tmp_path / "photos", force=True)
    assert (tmp_path / "photos" / "cat").read_text() == "meow"
    merge(base, [entry], tmp_path / "out")
    with pytest.raises(ToolRefused):
        merge(base, [entry], tmp_path / "out")
    merge(base, [StackEntry(entry.adapter, 0.5)], tmp_path / "out", force=True)
    same_bits(tmp_path / "out", patched({"unet": zoo.Model()}, StackEntry(entry.adapter, 0.5)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "out", "photos"]


def test_the_copy_without_a_variant_says_what_the_model_is(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"unet": zoo.Model()})
    for name in ("a.safetensors", f"{NAME}.fp16.safetensors"):
        safetensors.torch.save_file({"odd": torch.ones(1)}, base / "unet" / name)
    assert next(variant.name for variant in variants_of(base)["unet"]) == f"{NAME}.safetensors"
    _refused(tmp_path, [StackEntry(load(next(zoo.adapters(zoo.Model(), 1))))], NoPlace, Code.NO_MODULE)
