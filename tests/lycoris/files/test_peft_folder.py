"""PEFT's folders and zips: two files read, by a schema, under caps; everything else refused by name and reason."""

import io
import json
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from lycoris import AdapterError, Code, FileRefused, inspect, load
from lycoris.files.peft_folder import CONFIG, CONFIG_CAP, FILES_CAP, WEIGHTS
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close

SHAPE = zoo.layer("linear").get_parameter("weight").detach()
PREFIX = "base_model.model.a.b."
SPELLED = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}
CONFIGS: dict[str, dict[str, Any]] = {
    "lora": {"peft_type": "LORA", "r": 3, "lora_alpha": 6},
    "peft-adalora": {"peft_type": "ADALORA", "lora_alpha": zoo.ALPHA, "init_r": 12},
    "loha": {"peft_type": "LOHA", "r": 3, "alpha": zoo.ALPHA},
    "lokr-whole": {"peft_type": "LOKR", "r": 4, "alpha": 2},
    "peft-ia3-feedforward": {"peft_type": "IA3", "feedforward_modules": ["b"]},
    "peft-oft": {"peft_type": "OFT", "use_cayley_neumann": False},
    "peft-oft-neumann": {"peft_type": "OFT", "use_cayley_neumann": True, "num_cayley_neumann_terms": 5},
    "peft-boft": {"peft_type": "BOFT", "boft_n_butterfly_factor": 1},
    "peft-hra": {"peft_type": "HRA", "apply_GS": False},
    "peft-hra-schmidt": {"peft_type": "HRA", "apply_GS": True},
    "peft-vera": {"peft_type": "VERA", "save_projection": True},
    "peft-fourierft": {"peft_type": "FOURIERFT", "scaling": 150.0, "random_loc_seed": 777},
    "peft-c3a": {"peft_type": "C3A", "block_size": 4},
    "hira": {"peft_type": "HIRA", "r": 3},
    "peft-glora": {"peft_type": "GLORA", "r": 3},
}
IN_CONFIG = zoo.SCALARS | zoo.SETTINGS
LORA = CONFIGS["lora"]


def weights(algorithm: str) -> bytes:
    """The bytes of adapter_model.safetensors, without what PEFT would not write there."""
    kept = {name: tensor for name, tensor in zoo.tensors(algorithm, SHAPE).items() if name not in IN_CONFIG}
    shared = {name: kept.pop(name) for name in ("vera_A", "vera_B") if name in kept}
    named = {PREFIX + SPELLED.get(name, name): tensor for name, tensor in kept.items()}
    return safetensors.torch.save(named | {f"base_model.{name}": tensor for name, tensor in shared.items()})


def zipped(files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names twice
        for name, data in files.items():
            archive.writestr(name.removesuffix("#2"), data)
    return stream.getvalue()


def change_of(source: Any, strength: float = 1.0) -> torch.Tensor:
    change = load(source).layers[0].changes["weight"]
    added = torch.zeros(SHAPE.shape)
    change.add_change(added, SHAPE, strength)
    return added


def codes(source: Any) -> set[Code]:
    with pytest.raises(FileRefused) as caught:
        load(source)
    print(caught.value)
    return {reason.code for reason in caught.value.reasons}


@pytest.mark.parametrize("algorithm", CONFIGS)
def test_a_folder_a_zip_and_a_file_that_says_it_all_are_one_adapter(algorithm: str, tmp_path: Path) -> None:
    config = CONFIGS[algorithm]
    whole = zoo.tensors(algorithm, SHAPE)
    if config["peft_type"] == "LORA":
        whole |= {"alpha": torch.tensor(6.0)}
    if config["peft_type"] == "LOKR":
        whole |= {"scale": torch.tensor(0.5)}  # alpha/r, although both factors are whole
    (tmp_path / WEIGHTS).write_bytes(weights(algorithm))
    (tmp_path / CONFIG).write_text(json.dumps(config | {"auto_mapping": {"custom": "code"}, "task_type": None}))
    files: dict[str, bytes | str] = {name: (tmp_path / name).read_bytes() for name in (WEIGHTS, CONFIG)}
    wanted = change_of(zoo.file({"lora_unet_a_b": whole}))
    assert wanted.any()
    sources = tmp_path, zipped(files), zipped({f"one/{name}": data for name, data in files.items()})
    for source in sources:
        assert torch.equal(change_of(source), wanted)
    assert len({load(source).sha256 for source in sources}) == 3
    assert load(tmp_path).sha256 == load(tmp_path).sha256
    assert inspect(sources[1], {"unet": {"a.b.weight": tuple(SHAPE.shape), "a.b.bias": (8,)}}).resolved == 1


@pytest.mark.parametrize(
    ("more", "gamma"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 6 / math.sqrt(3)),
        ({"alpha_pattern": {"b": 1.5}}, 0.5),
        ({"alpha_pattern": {"a.b": 1.5, "b": 9}}, 0.5),
        ({"alpha_pattern": {"c": 1.5}}, 2.0),
        ({"rank_pattern": {"b": 3}, "r": 64}, 2.0),  # the tensors know their rank
    ],
)
def test_a_lora_is_scaled_as_its_configuration_says(more: dict[str, Any], gamma: float) -> None:
    t = zoo.tensors("lora", SHAPE)
    source = zipped({WEIGHTS: weights("lora"), CONFIG: json.dumps(LORA | more)})
    assert_close(change_of(source), gamma * t["lora_up.weight"] @ t["lora_down.weight"], "scaled")


def test_without_the_configuration_the_reason_names_what_is_missing() -> None:
    for algorithm, name in (("peft-oft", "neumann_terms"), ("peft-hra", "apply_GS"), ("peft-fourierft", "scaling")):
        with pytest.raises(AdapterError, match=rf"{name}.*adapter_config\.json"):
            load(weights(algorithm))


CONFIGURATIONS: dict[str, str] = {
    "no JSON": "{",
    "no object": "[]",
    "nested without end": '{"a":' * 100_000,
    "no family": json.dumps({"r": 3}),
    "a family that is not read": json.dumps({"peft_type": "RANDLORA"}),
    "another family": json.dumps(CONFIGS["loha"]),
    "an alpha of text": json.dumps(LORA | {"lora_alpha": "6"}),
    "an alpha of truth": json.dumps(LORA | {"lora_alpha": True}),
    "an alpha of nothing": json.dumps(LORA | {"lora_alpha": 0}),
    "an alpha without end": json.dumps(LORA | {"lora_alpha": float("inf")}),
    "no alpha": json.dumps({"peft_type": "LORA"}),
    "a flag of text": json.dumps(LORA | {"use_rslora": "yes"}),
    "a pattern that would run": json.dumps(LORA | {"alpha_pattern": {"(a+)+$": 1}}),
    "a pattern that is no table": json.dumps(LORA | {"alpha_pattern": ["a"]}),
    "transposed": json.dumps(LORA | {"fan_in_fan_out": True}),
    "biases trained along": json.dumps(LORA | {"bias": "all"}),
    "a base that was changed first": json.dumps(LORA | {"init_lora_weights": "pissa"}),
    "layers replicated": json.dumps(LORA | {"layer_replication": [[0, 2]]}),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_configuration_that_cannot_be_followed_is_refused(case: str) -> None:
    assert codes(zipped({WEIGHTS: weights("lora"), CONFIG: CONFIGURATIONS[case]})) == {Code.BAD_METADATA}


def test_a_rotation_of_unknown_direction_is_refused() -> None:
    assert codes(zipped({WEIGHTS: weights("peft-oft"), CONFIG: '{"peft_type": "OFT"}'})) == {Code.BAD_METADATA}


GOOD: dict[str, bytes | str] = {WEIGHTS: weights("lora"), CONFIG: json.dumps(LORA)}
ZIPS: dict[str, tuple[bytes, Code]] = {
    "a name that climbs": (zipped(GOOD | {"../x": ""}), Code.BAD_NAME),
    "an absolute name": (zipped(GOOD | {"/etc/x": ""}), Code.BAD_NAME),
    "a drive": (zipped(GOOD | {"C:x": ""}), Code.BAD_NAME),
    "a name twice": (zipped(GOOD | {f"{CONFIG}#2": "{}"}), Code.DUPLICATE),
    "two adapters": (zipped(GOOD | {f"two/{CONFIG}": json.dumps(LORA)}), Code.DUPLICATE),
    "too many files": (zipped(GOOD | {f"{n}.txt": "" for n in range(FILES_CAP)}), Code.TOO_LARGE),
    "a configuration that is a bomb": (zipped(GOOD | {CONFIG: " " * (CONFIG_CAP + 1)}), Code.TOO_LARGE),
    "a pickle for weights": (zipped({CONFIG: json.dumps(LORA), "adapter_model.bin": "x"}), Code.UNREADABLE),
    "another packing": (zipped(GOOD, zipfile.ZIP_LZMA), Code.UNREADABLE),
    "no end": (zipped(GOOD)[:-30], Code.UNREADABLE),
    "no adapter": (zipped({"archive/data.pkl": "x"}), Code.NOT_SAFETENSORS),
    "no zip": (b"PK\x03\x04" + bytes(64), Code.NOT_SAFETENSORS),
}


@pytest.mark.parametrize("case", ZIPS)
def test_a_zip_that_is_not_two_files_in_one_place_is_refused(case: str) -> None:
    data, code = ZIPS[case]
    assert code in codes(data)


def test_a_bomb_is_stopped_at_the_cap(tmp_path: Path) -> None:
    bomb = zipped(GOOD | {WEIGHTS: bytes(10 << 20)})
    assert len(bomb) < 1 << 20
    with pytest.raises(FileRefused) as caught:
        load(bomb, cap=1 << 20)
    assert {reason.code for reason in caught.value.reasons} == {Code.TOO_LARGE}
    assert codes(tmp_path) == {Code.UNREADABLE}, "an empty folder"


def test_flipped_bytes_are_read_or_refused_and_nothing_else() -> None:
    sound = zipped(GOOD)
    for position in range(0, len(sound), 3):
        broken = bytearray(sound)
        broken[position] ^= 0x55
        try:
            load(bytes(broken))
        except AdapterError as refusal:
            assert refusal.reasons
