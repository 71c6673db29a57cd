"""An adapter that was trained on a quantised base is known by its metadata, and what is served otherwise is said."""

import json
from typing import Any

import pytest
import torch

from lycoris import Index, judged, read
from lycoris.dialects.trained_on import told, trained_on
from tests.lycoris import zoo


def one_trainer(**parts: Any) -> dict[str, str]:
    return {"ot_config": json.dumps(parts)}


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({}, None),
        ({"ss_fp8_base": "True"}, "fp8"),
        ({"ss_fp8_base": "False", "ss_fp8_base_unet": "True"}, "fp8"),
        ({"ss_fp8_base": "False", "ss_nf4_base": "True"}, "nf4"),
        ({"ss_fp8_base": "False"}, ""),
        (one_trainer(transformer={"weight_dtype": "NFLOAT_4"}, unet={}), "nf4"),
        (one_trainer(unet={"weight_dtype": "BFLOAT_16"}), ""),
        (one_trainer(vae={"weight_dtype": "INT_8"}), None),
        ({"ot_config": "["}, None),
        ({"ot_config": "[" * 100_000}, None),
        ({"ot_config": '{"unet": 3}'}, None),
    ],
    ids=lambda one: str(one)[:50],
)
def test_what_trainers_write_is_read(metadata: dict[str, str], found: str | None) -> None:
    assert trained_on(metadata) == found


def test_what_is_otherwise_here_is_said() -> None:
    fp8, plain, gguf = {"ss_fp8_base": "True"}, {"ss_fp8_base": "False"}, one_trainer(unet={"weight_dtype": "GGUF"})
    assert list(told({}, ["int8"])) == list(told(plain, [])) == list(told(plain, None)) == []
    assert list(told(fp8, None)) == list(told(fp8, ["float8_e4m3fn"])) == ["it was trained on a base quantised to fp8"]
    assert list(told(gguf, ["Q4_K"])) == ["it was trained on a base quantised to GGUF"]
    assert list(told(fp8, ["Q8_0"])) == ["it was trained on a base quantised to fp8, and this one is quantised to Q8_0"]
    assert list(told(fp8, [])) == ["it was trained on a base quantised to fp8, and this one is not quantised"]
    assert list(told(plain, ["nf4"])) == ["it was trained on a base of plain floats, and this one is quantised to nf4"]


def test_it_stands_in_the_verdict() -> None:
    tensors = {"unet.layer": zoo.tensors("lora", torch.zeros(8, 8))}
    adapter, wrong = read(zoo.file(tensors, metadata={"ss_fp8_base": "True"}))
    verdict = judged(adapter, wrong, Index({"unet": {"layer.weight": [8, 8]}}), ["int8"])
    assert verdict.warnings[-1].endswith("quantised to fp8, and this one is quantised to int8")


def test_our_own_files_say_what_they_were_trained_on() -> None:
    eight, plain = {"radiata.quantised": '["int8"]'}, {"radiata.quantised": "[]"}
    assert [*told(eight, [])] == ["it was trained on a base quantised to int8, and this one is not quantised"]
    assert [*told(eight, ["int8"])] == ["it was trained on a base quantised to int8"]
    assert [*told(plain, [])] == [] == [*told({"radiata.quantised": "{"}, [])]
    assert "plain floats" in next(iter(told(plain, ["Q8_0"])))
