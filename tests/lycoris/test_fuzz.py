"""A mutation fuzzer: whatever is done to a sound file, it is read exactly or refused with an AdapterError.

A few seconds here; as long as asked by hand: `python -m tests.lycoris.test_fuzz 100000`.
"""

import json
import random
import struct
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lycoris import AdapterError, Patcher, inspect, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of

pytestmark = pytest.mark.slow

MODEL = zoo.Model()
PRISTINE = bits_of(MODEL)
SEEDS = list(zoo.adapters(MODEL, 6))
VALUES = (
    0,
    1,
    -1,
    2**31,
    2**63,
    1.5,
    True,
    None,
    "",
    "F32",
    "F16",
    "BF16",
    "I64",
    "F8_E4M3",
    "../x",
    [],
    [0],
    [8, 12],
    {},
)
CONFIGS = ('{"unet.lora_alpha": 4}', '{"lora_alpha": 4, "alpha_pattern": {"^a": 1}}', '{"peft_type": "LOKR", "r": 0}')


def mutate(data: bytes, source: random.Random) -> bytes:
    """Return the file after a few random changes to its header, its names, its tensors or its bytes."""
    for _ in range(source.randint(1, 3)):
        data = source.choice((flip, cut, splice, edit_header, edit_header, edit_header, rename, poison))(data, source)
    return data


def flip(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.randint(1, 4)):
        if changed:
            changed[source.randrange(min(len(changed), source.choice((16, 4096, 1 << 30))))] = source.randrange(256)
    return bytes(changed)


def cut(data: bytes, source: random.Random) -> bytes:
    return data[: source.randrange(len(data) + 1)]


def splice(data: bytes, source: random.Random) -> bytes:
    at, other = source.randrange(len(data) + 1), source.choice(SEEDS)
    return data[:at] + other[source.randrange(len(other)) :]


def edit_header(data: bytes, source: random.Random) -> bytes:
    header, body = parts(data)
    if not header:
        return data
    name = source.choice(list(header))
    entry = header[name]
    field = source.choice(("dtype", "shape", "data_offsets", "gone", "moved", "metadata"))
    if field == "gone":
        del header[name]
    elif field == "metadata":
        key = source.choice(("ss_tag_frequency", "lora_adapter_metadata", "ss_output_name", "alpha"))
        header["__metadata__"] = {key: source.choice(("{", "{}", "[[", *CONFIGS, "x" * 99, "8", "nan", 3))}
    elif field == "moved" or not isinstance(entry, dict):
        header[name] = source.choice((*header.values(), *VALUES))
    elif field == "shape" and isinstance(entry.get("shape"), list) and source.random() < 0.7:
        shape = list(entry["shape"])
        source.shuffle(shape)
        header[name] = entry | {"shape": source.choice((shape, [*shape, 1], [1, *shape], shape[1:]))}
    else:
        header[name] = entry | {field: source.choice(VALUES)}
    return joined(header, body)


def rename(data: bytes, source: random.Random) -> bytes:
    header, body = parts(data)
    if not header:
        return data
    old, other = source.choice(list(header)), source.choice(list(header))
    wrapped = (
        f"module.{old}",
        old.replace("lora_unet_", "lora_unet_orig_mod_"),
        old.replace("_", "."),
        f"{old}.default",
    )
    cuts = source.choice(
        (
            *wrapped,
            "bundle_emb.\u202e\ud800 é(.clip_l",
            old.replace("lora_unet_", ""),
            old + ".x",
            old.rpartition(".")[0],
            other.rpartition(".")[2],
        )
    )
    suffix = source.choice(("alpha", "diff", "dora_scale", "lora_B.bias", "lora_A.default.weight", "lokr_t2", "scale"))
    header[source.choice((cuts, f"{old.rpartition('.')[0]}.{suffix}"))] = header.pop(old)
    return joined(header, body)


def poison(data: bytes, source: random.Random) -> bytes:
    header, body = parts(data)
    if not body:
        return data
    value = source.choice((float("nan"), float("inf"), -1e38, 0.0, 1e-45))
    at = source.randrange(len(body)) // 4 * 4
    return joined(header, body[:at] + struct.pack("<f", value) + body[at + 4 :])


def parts(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length]) if length < len(data) else {}
    except ValueError:
        header = {}
    return (header, data[8 + length :]) if isinstance(header, dict) else ({}, b"")


def joined(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def judged(data: bytes) -> str:
    """Judge a file, and apply it if it is accepted; return the outcome. Only AdapterError may be raised."""
    try:
        inspect(data, {"unet": MODEL})
    except AdapterError as error:
        assert error.reasons and json.dumps(error.as_dict())
        return str(error.reasons[0].code)
    patcher = Patcher({"unet": MODEL})
    try:
        patcher.swap([StackEntry(load(data), 0.5)])
        assert all(bool(weight.isfinite().all()) for weight in MODEL.parameters())
        ending = "applied"
    except AdapterError as error:
        ending = str(error.reasons[0].code)
    patcher.restore()
    assert bits_of(MODEL) == PRISTINE
    return ending


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from(range(len(SEEDS))))
def test_mutated_files(seed: int, which: int) -> None:
    judged(mutate(SEEDS[which], random.Random(seed)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.booleans())
def test_noise(data: bytes, framed: bool) -> None:
    assert judged(joined({}, data) if framed else data) != "applied"


def test_the_fuzzer_reaches_both_ends() -> None:
    endings = Counter(judged(mutate(SEEDS[seed % len(SEEDS)], random.Random(seed))) for seed in range(300))
    print(dict(endings))
    assert endings["applied"] > 5
    assert len(endings) > 8


if __name__ == "__main__":
    torch.set_num_threads(1)
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    start = random.SystemRandom().randrange(2**32)
    print(f"{total} mutated files from seed {start}")
    print(dict(Counter(judged(mutate(SEEDS[k % len(SEEDS)], random.Random(start + k))) for k in range(total))))
