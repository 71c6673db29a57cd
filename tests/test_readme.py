"""The README tells the truth: every setting, every file, and its examples run as they stand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.shared.settings import Settings
from app.supervisor import Service

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
HERE = "http://127.0.0.1:8000"


def block(language: str) -> str:
    """The first fenced block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"no {language} block"
    return found[1]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_table_as_it_is(name: str) -> None:
    field = Settings.model_fields[name]
    shown = "unset" if field.default is None else f"`{field.default}`"
    shown = f"`{json.dumps(field.default)}`" if isinstance(field.default, dict) else shown
    shown = f"`{','.join(field.default)}`" if isinstance(field.default, tuple) else shown
    shown = "unset" if field.default in ("", ()) else shown
    assert f"| `RADIATA_{name.upper()}` | {shown} | {field.description} |" in README


def test_the_map_names_every_file() -> None:
    rows = re.findall(r"^\| `([a-z_/]+)/` \| (.*) \|$", README, re.MULTILINE)
    folders = dict(rows)
    for folder in ("app", "app/routes", "app/shared", "workers", "workers/models"):
        for file in (ROOT / folder).glob("*.py"):
            if not file.stem.startswith("__"):
                assert f"`{file.stem}`" in folders[folder], f"{folder}/{file.name} is not on the README's map"


def test_every_file_that_is_named_exists() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    named = re.findall(r"`(tests/[a-z_/]+\.py)`", README)
    missing = [path for path in [*links, *named] if not (ROOT / path).exists()]
    assert missing == []


def test_the_curl_example_runs(service: Service, tmp_path: Path) -> None:
    script = block("bash").replace(HERE, service.url).replace("workers/models", str(ROOT / "workers/models"))
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"status":"succeeded"' in done.stdout
    assert (tmp_path / "apple.png").read_bytes().startswith(b"\x89PNG")
    assert '"verdict"' in done.stdout


def test_the_python_example_runs(service: Service, tmp_path: Path) -> None:
    script = block("python").replace(HERE, service.url)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.glob("*.png")] == ["butterfly-3.png"]
