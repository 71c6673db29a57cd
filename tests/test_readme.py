"""The README and the pages beside it tell the truth: settings, files and names, and examples run as they stand."""

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
SETTINGS = (ROOT / "docs/settings.md").read_text()
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "client/README.md",
    *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md")),
)
PACKAGES = ("app", "workers", "lycoris", "radiata_client")
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
    assert f"| `RADIATA_{name.upper()}` | {shown} | {field.description} |" in SETTINGS


def test_the_map_has_every_folder_and_no_other() -> None:
    rows = re.findall(r"^\| `([\w/-]+)/` \|", README, re.MULTILINE)
    code = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert {str(folder.relative_to(ROOT)) for folder in code} - set(rows) == set()
    assert [row for row in rows if not (ROOT / row).is_dir()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    linked = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)]
    named = re.findall(r"`((?:app|docker|docs|lycoris|tests|workers)/[\w./-]*)`", text)
    paths = [(ROOT / page).parent / path for path in linked] + [ROOT / path for path in named if "NAME" not in path]
    missing = [str(path) for path in paths if not path.exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_heading_that_is_linked_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text)
    missing = [
        f"{path}#{anchor}"
        for path, anchor in links
        if anchor not in anchors((ROOT / page).parent / path if path else ROOT / page)
    ]
    assert missing == []


def anchors(path: Path) -> set[str]:
    """Return the headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_name_of_the_code_in_contributing_exists() -> None:
    named = set(re.findall(r"`([A-Z]\w+|[a-z]\w*_\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    code = "".join(file.read_text() for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*.py"))
    assert {name for name in named if not re.search(rf"\b{name}\b", code)} == set()


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
