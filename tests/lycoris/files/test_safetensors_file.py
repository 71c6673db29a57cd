"""Files made to hurt: whatever is in them, the answer is an AdapterError that names what is wrong."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lycoris import AdapterError, Code, FileRefused, load
from lycoris.files import safetensors_file as files
from lycoris.files.safetensors_file import judge, judge_file
from tests.lycoris import zoo

GOOD = "lora_unet_layers_linear.diff"
ENTRY = {"dtype": "F32", "shape": [8, 12], "data_offsets": [0, 384]}
BODY = bytes(384)


def raw(header: object, body: bytes = BODY, length: int | None = None) -> bytes:
    """Return a file with this header, given as JSON-ready data or as text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def one(**fields: object) -> bytes:
    """Return a file of one tensor, with some of its header's fields replaced."""
    return raw({GOOD: ENTRY | fields})


def named(name: str) -> bytes:
    return raw({name: ENTRY})


def two(first: list[int], second: list[int], size: int) -> bytes:
    row = {"dtype": "F32", "shape": [2]}
    header = {f"lora_unet_{k}.diff_b": row | {"data_offsets": at} for k, at in enumerate((first, second))}
    return raw(header, bytes(size))


ATTACKS: dict[str, tuple[bytes, Code]] = {
    "zero length": (b"", Code.TRUNCATED),
    "seven bytes": (b"\x08\0\0\0\0\0\0", Code.TRUNCATED),
    "only a length": (bytes(8), Code.NOT_SAFETENSORS),
    "a picture": (b"GIF89a" + bytes(400), Code.NOT_SAFETENSORS),
    "zip pickle": (b"PK\x03\x04" + bytes(400), Code.NOT_SAFETENSORS),
    "bare pickle": (b"\x80\x02}q\0." + bytes(400), Code.NOT_SAFETENSORS),
    "header longer than the file": (raw({GOOD: ENTRY}, length=10_000), Code.TRUNCATED),
    "header of exabytes": (raw({GOOD: ENTRY}, length=2**63 + 5), Code.TOO_LARGE),
    "header over the cap": (raw(b"{" + b" " * files.HEADER_CAP), Code.TOO_LARGE),
    "header that is no JSON": (raw(b"{nope}"), Code.BAD_HEADER),
    "header that is a list": (raw([1, 2]), Code.NOT_SAFETENSORS),
    "header that is no UTF-8": (raw(b'{"\xff": 1}'), Code.BAD_HEADER),
    "header nested without end": (raw(b'{"a":' * 100_000), Code.BAD_HEADER),
    "a number without end": (raw(b'{"a": ' + b"9" * 100_000 + b"}"), Code.BAD_HEADER),
    "JSON that is not a number": (raw(b'{"a": NaN}'), Code.BAD_HEADER),
    "metadata that is no text": (raw({"__metadata__": {"a": 1}, GOOD: ENTRY}), Code.BAD_HEADER),
    "metadata null": (raw({"__metadata__": None, GOOD: ENTRY}), Code.BAD_HEADER),
    "a tensor that is a number": (raw({GOOD: 3}), Code.BAD_HEADER),
    "a field too many": (one(extra=1), Code.BAD_HEADER),
    "a field too few": (raw({GOOD: {"dtype": "F32", "shape": [8, 12]}}), Code.BAD_HEADER),
    "two tensors of one name": (raw(f'{{"{GOOD}": {json.dumps(ENTRY)}, "{GOOD}": 1}}'.encode()), Code.DUPLICATE),
    "two metadata": (raw(b'{"__metadata__": {}, "__metadata__": {}}'), Code.DUPLICATE),
    "a shape given twice": (raw(b'{"a": {"shape": [1], "shape": [2]}}'), Code.DUPLICATE),
    "name with ../": (named("../../etc/passwd"), Code.BAD_NAME),
    "name from the root": (named("/etc/passwd"), Code.BAD_NAME),
    "name with a NUL": (named("a\0b.diff"), Code.BAD_NAME),
    "name with a newline": (named("a\nb.diff"), Code.BAD_NAME),
    "name that ends in a newline": (named(GOOD + "\n"), Code.BAD_NAME),
    "name with markup": (named("<script>.diff"), Code.BAD_NAME),
    "an embedding called by half a character": (named("bundle_emb.\ud800.clip_l"), Code.BAD_NAME),
    "an embedding called by a step of a path": (named("bundle_emb.a/../b.clip_l"), Code.BAD_NAME),
    "an embedding that turns what follows round": (named("bundle_emb.\u202ea.clip_l"), Code.BAD_NAME),
    "name without end": (named("a" * 10_000), Code.BAD_NAME),
    "no name": (named(""), Code.BAD_NAME),
    "unknown dtype": (one(dtype="F3"), Code.BAD_DTYPE),
    "complex numbers": (one(dtype="C64"), Code.BAD_DTYPE),
    "dtype that is a list": (one(dtype=["F32"]), Code.BAD_DTYPE),
    "shape with a negative": (one(shape=[-8, -12]), Code.BAD_SHAPE),
    "shape with a fraction": (one(shape=[8.0, 12]), Code.BAD_SHAPE),
    "shape with a truth": (one(shape=[True, 96]), Code.BAD_SHAPE),
    "shape that is text": (one(shape="8,12"), Code.BAD_SHAPE),
    "an empty tensor of 2^60 rows": (one(shape=[0, 2**60], data_offsets=[0, 0]), Code.BAD_SHAPE),
    "an axis beyond 2^31": (one(shape=[2**40]), Code.BAD_SHAPE),
    "a shape that overflows 64 bits": (one(shape=[2**31] * 3), Code.BAD_OFFSETS),
    "a hundred axes": (one(shape=[1] * 100), Code.BAD_SHAPE),
    "shape and bytes that disagree": (one(shape=[8, 13]), Code.BAD_OFFSETS),
    "dtype and bytes that disagree": (one(dtype="F16"), Code.BAD_OFFSETS),
    "offsets backwards": (one(data_offsets=[384, 0]), Code.BAD_OFFSETS),
    "offsets that are three": (one(data_offsets=[0, 384, 384]), Code.BAD_OFFSETS),
    "offsets below zero": (one(data_offsets=[-384, 0]), Code.BAD_OFFSETS),
    "tensors that overlap": (two([0, 8], [4, 12], 12), Code.BAD_OFFSETS),
    "a hole between tensors": (two([0, 8], [12, 20], 20), Code.BAD_OFFSETS),
    "bytes after the last tensor": (two([0, 8], [8, 16], 20), Code.BAD_OFFSETS),
    "data cut short": (raw({GOOD: ENTRY}, BODY[:-1]), Code.TRUNCATED),
    "too many tensors": (
        raw({f"t{k}": {} for k in range(files.TENSOR_CAP + 1)}, b""),
        Code.TOO_LARGE,
    ),
    "no tensors": (raw({}, b""), Code.EMPTY),
    "only metadata": (raw({"__metadata__": {"format": "pt"}}, b""), Code.EMPTY),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(attack: str, tmp_path: Path) -> None:
    data, code = ATTACKS[attack]
    path = tmp_path / "attack.safetensors"
    path.write_bytes(data)
    refusals = []
    for source in (data, path, str(path)):
        with pytest.raises(FileRefused) as caught:
            load(source)
        assert code in {reason.code for reason in caught.value.reasons}, caught.value.reasons
        assert str(caught.value).isprintable() or "\n" in str(caught.value)
        assert json.loads(json.dumps(caught.value.as_dict()))["reasons"]
        refusals.append(caught.value.reasons)
    assert refusals[0] == refusals[1] == refusals[2]


def test_every_bad_tensor_of_a_header_is_named() -> None:
    header = {f"t{k}.diff": ENTRY | {"dtype": "F3"} for k in range(50)} | {"a\0b": ENTRY}
    with pytest.raises(FileRefused) as caught:
        load(raw(header))
    assert len(caught.value.reasons) == 51
    assert len(str(caught.value).splitlines()) == 21, "the text is kept short"
    assert "\0" not in str(caught.value)


def test_what_was_attacked_is_otherwise_sound() -> None:
    assert load(one()).algorithms == {"full": 1}


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_a_header_whose_length_looks_like_a_pickle_is_none(length: int) -> None:
    text = json.dumps({GOOD: ENTRY}).encode()
    assert load(raw(text.ljust(length))).algorithms == {"full": 1}


def test_the_file_cap(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(one())
    for source in (one(), tmp_path / "a"):
        with pytest.raises(FileRefused, match="above the cap of 100"):
            load(source, cap=100)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/", "a\0b"])
def test_no_file(path: str) -> None:
    with pytest.raises(FileRefused) as caught:
        load(path)
    assert caught.value.reasons[0].code == Code.UNREADABLE


def test_long_metadata_is_left_out_and_said() -> None:
    metadata = {"ss_output_name": "fine", "modelspec.thumbnail": "x" * (files.METADATA_CAP + 1)}
    adapter = load(safetensors.torch.save({GOOD: torch.zeros(8, 12)}, metadata))
    assert dict(adapter.metadata) == {"ss_output_name": "fine"}
    assert any("modelspec.thumbnail" in doubt for doubt in adapter.doubts)


def test_judging_a_file_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(one())
    assert judge_file(path) == judge(one())
    assert judge_file(path).entries[GOOD].shape == (8, 12)


def test_hashes_are_those_that_others_search_by() -> None:
    # sha256 by coreutils of the same bytes; AutoV3 is of what follows the header, whatever the metadata says.
    plain = load(one())
    assert plain.sha256 == "3cd89a967e1512afd8c82bc7b3e5e45c227174925146f00c3a4c769cf05351b8"
    renamed = load(raw({"__metadata__": {"ss_output_name": "another"}, GOOD: ENTRY}))
    assert plain.hashes and renamed.hashes
    assert plain.hashes.autov2 == plain.sha256[:10]
    assert renamed.sha256 != plain.sha256
    assert renamed.hashes.autov3 == plain.hashes.autov3 == "a1a4f5721c1c"


@pytest.mark.parametrize("dtype", [*zoo.DTYPES, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_every_precision_of_factors_is_read(dtype: torch.dtype) -> None:
    weight = zoo.layer("conv3x3").get_parameter("weight")
    tensors = {name: tensor.to(dtype) for name, tensor in zoo.tensors("loha", weight).items()}
    change = load(zoo.file({"lora_unet_x": tensors})).layers[0].changes["weight"]
    added = torch.zeros(weight.shape)
    change.add_change(added, weight.detach(), 1.0)
    assert added.dtype == torch.float32
    assert bool(added.isfinite().all())
    assert bool(added.any())


Break = Callable[[zoo.Tensors], zoo.Tensors]
HALVES: dict[str, tuple[str, Break, Code]] = {
    "no lora_down": ("lora", lambda t: without(t, "lora_down.weight"), Code.INCOMPLETE),
    "no lora_up": ("lora", lambda t: without(t, "lora_up.weight"), Code.INCOMPLETE),
    "a core alone": ("lora-tucker", lambda t: {"lora_mid.weight": t["lora_mid.weight"]}, Code.INCOMPLETE),
    "an alpha alone": ("lora", lambda t: {"alpha": t["alpha"]}, Code.UNKNOWN_TENSOR),
    "no hada_w2_b": ("loha", lambda t: without(t, "hada_w2_b"), Code.INCOMPLETE),
    "one core of two": ("loha-tucker", lambda t: without(t, "hada_t2"), Code.BAD_SHAPE),
    "no lokr_w1": ("lokr-whole", lambda t: without(t, "lokr_w1"), Code.BAD_SHAPE),
    "no lokr_w1_b": ("lokr-both", lambda t: without(t, "lokr_w1_b"), Code.BAD_SHAPE),
    "no lokr_w2_a": ("lokr-low", lambda t: without(t, "lokr_w2_a"), Code.BAD_SHAPE),
    "whole and in parts": ("lokr-low", lambda t: t | {"lokr_w2": t["lokr_w1"].clone()}, Code.BAD_SHAPE),
    "a core without its factors": ("lokr-whole", lambda t: t | {"lokr_t2": torch.ones(3, 3, 3, 3)}, Code.BAD_SHAPE),
    "two algorithms in one layer": ("lora", lambda t: t | {"diff": torch.ones(8, 12)}, Code.UNKNOWN_TENSOR),
    "a magnitude on a full difference": ("full", lambda t: t | {"dora_scale": torch.ones(8, 1)}, Code.UNKNOWN_TENSOR),
    "a magnitude alone": ("lora", lambda _: {"dora_scale": torch.ones(8, 1)}, Code.UNKNOWN_TENSOR),
    "a magnitude of the weight's size": ("lora", lambda t: t | {"dora_scale": torch.ones(8, 12)}, Code.BAD_SHAPE),
    "two biases": ("lora-with-bias", lambda t: t | {"b_norm": torch.ones(8)}, Code.UNKNOWN_TENSOR),
    "two magnitudes": ("dora-lora-peft", lambda t: t | {"dora_scale": torch.ones(8, 1)}, Code.BAD_SHAPE),
    "ranks that differ": ("lora", lambda t: t | {"lora_up.weight": torch.ones(8, 5)}, Code.BAD_SHAPE),
    "halves that differ": ("loha", lambda t: t | {"hada_w1_a": torch.ones(9, 3)}, Code.BAD_SHAPE),
    "a rank of one where three is": ("lora", lambda t: t | {"lora_up.weight": torch.ones(8, 1)}, Code.BAD_SHAPE),
    "alpha of two numbers": ("lora", lambda t: t | {"alpha": torch.ones(2)}, Code.BAD_SHAPE),
    "alpha of two numbers beside a bias": ("lora-peft-bias", lambda t: t | {"alpha": torch.ones(2)}, Code.BAD_SHAPE),
    "alpha NaN": ("loha", lambda t: t | {"alpha": torch.tensor(float("nan"))}, Code.NOT_FINITE),
    "a NaN": ("lora", lambda t: t | {"lora_up.weight": torch.full((8, 3), float("nan"))}, Code.NOT_FINITE),
    "an infinity": ("lokr-whole", lambda t: t | {"lokr_w1": torch.full((2, 4), -float("inf"))}, Code.NOT_FINITE),
    "beyond float32": ("full", lambda t: t | {"diff_b": torch.full((8,), 1e300, dtype=torch.float64)}, Code.NOT_FINITE),
    "whole numbers": ("lora", lambda t: t | {"lora_up.weight": torch.ones(8, 3).int()}, Code.BAD_DTYPE),
    "a scalar factor": ("lora", lambda t: t | {"lora_up.weight": torch.tensor(1.0)}, Code.BAD_SHAPE),
    "a matrix for a bias": ("lora-with-bias", lambda t: t | {"diff_b": torch.ones(8, 1)}, Code.BAD_SHAPE),
    "a third of a sparse residual": ("lora", lambda t: t | {"bias_values": torch.ones(4)}, Code.BAD_SHAPE),
    "an algorithm that is not read": ("lora", lambda _: {"randlora_A": torch.ones(2, 4)}, Code.UNKNOWN_TENSOR),
}


@pytest.mark.parametrize("case", HALVES)
def test_layers_that_make_no_sense_are_refused(case: str) -> None:
    algorithm, breaking, code = HALVES[case]
    whole = zoo.tensors(algorithm, zoo.layer("linear").get_parameter("weight"))
    if algorithm.endswith("tucker"):
        whole = zoo.tensors(algorithm, zoo.layer("conv3x3").get_parameter("weight"))
    other = {"lora_unet_other": zoo.tensors("lora", torch.zeros(8, 12))}
    load(zoo.file({"lora_unet_x": whole} | other))
    with pytest.raises(AdapterError) as caught:
        load(zoo.file({"lora_unet_x": breaking(whole)} | other))
    assert code in {reason.code for reason in caught.value.reasons}, caught.value.reasons
    assert all("other" not in reason.subject for reason in caught.value.reasons)


def without(tensors: zoo.Tensors, *names: str) -> zoo.Tensors:
    return {name: tensor for name, tensor in tensors.items() if name not in names}
