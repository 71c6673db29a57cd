"""A base is known by its files."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from app.shared.settings import Settings
from app.shared.wire.model import OWN_ENCODER
from tests.app.shared.making import profile
from tests.old_store import STORE
from workers.models.components import IMAGE_ENCODER
from workers.models.fingerprint import fingerprint, part_fingerprint
from workers.models.folder import ModelFolder
from workers.models.loading import LoadedModel, _device, _usable, computes, load
from workers.models.sources import find


@pytest.mark.parametrize("source", ["bundled:nobody", "bundled:../training"])
def test_a_bundle_that_is_not_there_is_said_to_be(source: str) -> None:
    with pytest.raises(FileNotFoundError, match="no bundled model"):
        find(source)


def test_a_folder_is_itself(folder: Path) -> None:
    assert find(str(folder)) == folder


@pytest.mark.parametrize(
    ("named", "has"),
    [({}, False), ({"safety_checker": [None, None]}, False), ({"safety_checker": ["stable_diffusion", "X"]}, True)],
)
def test_a_safety_checker_that_is_not_used_is_told(folder: Path, named: dict[str, object], has: bool) -> None:
    index = json.loads((folder / "model_index.json").read_text()) | named
    (folder / "model_index.json").write_text(json.dumps(index))
    assert ModelFolder(folder).has_safety_checker is has


def test_a_device_is_drawn_on_in_what_it_computes_in() -> None:
    cpu = torch.device("cpu")
    assert [computes(cpu, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)] == [True, True, False]
    assert computes(torch.device("meta"), torch.float16) is False
    assert _device("cuda:1") == "cuda:1"


def test_what_is_asked_of_a_second_card_is_not_told_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # as if there were one
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert _usable("cuda:1") == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")]
    assert _usable("cpu") == torch.device("cpu") and len(current) == 1


def test_a_tied_weight_is_told_under_each_of_its_names() -> None:
    """As a T5's `shared` and its `embed_tokens`: what intake judges files against, and the patcher finds."""
    tied = torch.nn.ModuleDict({"one": torch.nn.Linear(2, 3), "other": torch.nn.Linear(2, 3)})
    tied["other"].register_parameter("weight", tied["one"].get_parameter("weight"))
    shapes = LoadedModel(None, {"text_encoder": tied}, profile(), Path()).shapes()
    assert shapes["text_encoder"]["one.weight"] == shapes["text_encoder"]["other.weight"] == [3, 2]


@pytest.mark.parametrize("source", ["/no/such/folder", "./none", "a/b/c", "name alone"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_said_to_be_neither(source: str) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder or file"):
        find(source)


def test_the_image_encoder_counts_by_itself_and_the_bundled_base_is_that_of_version_0_1(
    tmp_path: Path,
) -> None:
    written = json.loads((STORE / "models" / "emoji-64.json").read_text())
    loaded = load("emoji-64", Settings.model_validate({"data_dir": tmp_path, "device": "cpu"}))
    own = loaded.profile.image_encoders[OWN_ENCODER]
    assert loaded.profile.fingerprint == written["fingerprint"] and len(own.fingerprint) == 64
    other = shutil.copytree(loaded.folder, tmp_path / "other")
    whole = ModelFolder(other, parts={IMAGE_ENCODER: other / IMAGE_ENCODER})
    assert part_fingerprint(whole, IMAGE_ENCODER) == own.fingerprint
    (other / IMAGE_ENCODER / "config.json").write_text("{}")
    assert part_fingerprint(whole, IMAGE_ENCODER) != own.fingerprint
    assert fingerprint(whole, without=[IMAGE_ENCODER]) == written["fingerprint"] != fingerprint(whole)
