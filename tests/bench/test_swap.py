"""The benchmark of swaps runs, whole, on a model so small that the figures mean nothing; what must be 0 is 0."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PARTS = ("swaps", "steps", "drift", "soak")  # the others start processes of their own and are the same code inside


def test_every_part_gives_figures_and_nothing_is_left_behind() -> None:
    few = [
        "--rounds",
        "1",
        "--step-rounds",
        "1",
        "--swaps",
        "8",
        "--soak",
        "20",
        "--threads",
        "1",
        "--families",
        "LoRA",
        "DoRA",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.swap", "--models", "tiny", "--parts", *PARTS, *few],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert {"date", "commit", "machine", "settings"} <= set(line)
    figures = line["figures"]
    assert {figure["part"] for figure in figures} == set(PARTS)
    # From how many steps on merging pays may be "never", where the machine is busy
    unmeasured = [one for one in figures if "value" not in one and not one["what"].endswith("merging pays")]
    assert unmeasured == [], done.stderr
    ours = {figure["what"]: figure["value"] for figure in figures if "numbers changed" in figure["what"]}
    assert {name: value for name, value in ours.items() if value and not name.startswith(("diffusers", "adding"))} == {}
    assert any(value for name, value in ours.items() if name.startswith("diffusers")), "PEFT's drift went unnoticed"
