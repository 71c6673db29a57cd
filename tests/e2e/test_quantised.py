"""A base in a GGUF file over the running service: plain, by bypass, by recompute, refused as a merge, plain again."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from tests.conftest import running
from tests.e2e.drawing import draw, picture, recipe, refused, upload
from tests.families.z_image import z_image
from tests.families.z_image_file import as_gguf
from tests.lycoris import zoo

BRIEF: dict[str, Any] = {"width": 64, "height": 64, "steps": 2}
LAYERS = tuple(f"transformer.layers.{block}.attention.to_{one}" for block in (0, 1) for one in "qkv")


def adapter(http: httpx.Client, algorithm: str) -> list[dict[str, str]]:
    layers = {name: zoo.tensors(algorithm, torch.zeros(32, 32), number) for number, name in enumerate(LAYERS)}
    answer = upload(http, zoo.file(layers, {"ss_fp8_base": "True"}), algorithm)
    assert answer.status_code == 201, answer.text
    warnings = answer.json()["verdict"]["warnings"]
    assert "it was trained on a base quantised to fp8, and this one is quantised to Q8_0" in warnings
    return [{"ref": algorithm}]


def test_a_base_in_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    z_image(tmp_path / "base")
    as_gguf(tmp_path / "base", file := tmp_path / "base.gguf")
    monkeypatch.setenv("RADIATA_MODELS", json.dumps({"z": {"source": str(file), "dtype": "float32"}}))
    with running(tmp_path / "data") as service, httpx.Client(base_url=service.url, timeout=60) as http:
        plain = picture(http, draw(http, **BRIEF))
        assert recipe(plain)["quantised"] == ["Q8_0"]
        for algorithm, applied, because in (
            ("lora", "bypass", "quantised"),
            ("loha", "recompute", "no_forward_form"),
        ):
            asked = BRIEF | {"adapters": adapter(http, algorithm)}
            drawn = draw(http, **asked)
            assert (drawn["applied"], drawn["applied_because"]) == (applied, because)
            told = recipe(png := picture(http, drawn))
            assert (told["applied"], told["applied_because"]) == (applied, because)
            assert picture(http, draw(http, **asked)) == png != plain
            assert picture(http, draw(http, **BRIEF)) == plain
            (wrong,) = refused(http, **asked, apply="merge")["errors"]
            assert (wrong["code"], wrong["pointer"]) == ("merge_impossible", "/apply")
            assert wrong["allowed"] == ["auto", *(["bypass"] if applied == "bypass" else []), "recompute"]
