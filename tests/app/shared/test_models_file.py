"""Models of the data folder: beside those of the environment, which is right where both name one; changed whole."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.shared.base_source import BaseSource
from app.shared.models_file import ModelsFile
from app.shared.settings import BadSettings, Settings, read_settings


def settings(folder: Path, **more: object) -> Settings:
    return Settings(data_dir=folder, **more)  # type: ignore[arg-type]


def test_models_of_the_data_folder_stand_beside_the_others(tmp_path: Path) -> None:
    assert list(settings(tmp_path).models) == ["emoji-64"]
    ModelsFile(tmp_path).put("sdxl", {"source": "/a", "vae": "/b"})
    ModelsFile(tmp_path).put("sd15", "/c")
    known = settings(tmp_path)
    assert list(known.models) == ["emoji-64", "sdxl", "sd15"] and known.model == "emoji-64"
    assert known.base("sdxl") == BaseSource("/a", parts={"vae": "/b"})
    assert [known.named_by(name) for name in known.models] == ["the default", *[str(tmp_path / "models.json")] * 2]
    assert settings(tmp_path, default_model="sd15").model == "sd15"


def test_the_environment_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ModelsFile(tmp_path).put("sdxl", {"source": "/a", "vae": "/b"})
    ModelsFile(tmp_path).put("other", "/d")
    monkeypatch.setenv("RADIATA_MODELS", json.dumps({"first": "/e", "sdxl": "/c"}))
    known = read_settings(data_dir=tmp_path)
    assert list(known.models) == ["first", "sdxl", "other"] and known.model == "first"
    assert known.base("sdxl") == BaseSource("/c"), "nothing of the file's object is mixed in"
    assert [known.named_by(name) for name in known.models] == ["RADIATA_MODELS"] * 2 + [str(tmp_path / "models.json")]


def test_what_is_removed_is_no_model(tmp_path: Path) -> None:
    models = ModelsFile(tmp_path / "new")
    models.put("sdxl", "/a")
    assert models.remove("sdxl") and not models.remove("sdxl")
    assert list(settings(tmp_path / "new").models) == ["emoji-64"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no object"),
        ('{"a": 1}', "'a': a base is a folder"),
        ('{"a": {"source": "/b", "vae": 3}}', "'a': `vae` is 3"),
        ('{"../x": "/b"}', "no request can name '../x'"),
    ],
)
def test_a_file_that_says_nothing_of_use_is_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(BadSettings, match=f"^{tmp_path}/models.json.*{why}"):
        read_settings(data_dir=tmp_path)


def test_what_no_request_can_name_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no request can name"):
        ModelsFile(tmp_path).put("SD 1.5", "/a")
    assert list(tmp_path.iterdir()) == []


def test_many_that_add_at_once_are_all_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: ModelsFile(tmp_path).put(f"m{number}", "/a"), range(32)))
    assert len(ModelsFile(tmp_path).read()) == 32
