"""The LyCORIS library's merge and restore, in a process of its own: it too is a package called `lycoris`.

It is installed on demand, without its dependencies' dependencies, into a folder that git ignores, and runs on the
same torch as we do; its times are held to the copies that the same process makes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.figures import Figure
from tests.bench.swap.bench import Bench, Missing
from tests.bench.swap.families import kohya, layers

ROOT = Path(__file__).parents[3]
PACKAGES = ("lycoris_lora==4.1.3", "einops==0.8.2", "toml==0.10.2")
FOLDER = ROOT / "out" / "bench" / PACKAGES[0].replace("==", "-")
MERGE, RESTORE = "onfly_merge", "onfly_restore"
ALIAS = ": on a CPU, what it saves by `.data.cpu()` is the live weight itself"


def lycoris_library(bench: Bench) -> Iterator[Figure]:
    """Its merge of every family, its restore, and what is left behind after one."""
    folder = _installed(bench)
    subject = bench.subject(twin=False)
    title = subject.title
    files = {}
    for number, family in enumerate(bench.families):
        bench.tick(f"writing {family}")
        files[family] = bench.folder / f"theirs-{number}.safetensors"
        files[family].write_bytes(kohya(layers(family, subject, seed=1)))
    del subject  # the other process needs the memory
    for family, file in files.items():
        bench.tick(f"{family}, in a process of its own")
        found = _measured(bench, folder, file)
        about = Figure(part="lycoris", model=title, family=family)
        if isinstance(found, str):
            yield replace(about, what="the LyCORIS library", note=found)
            continue
        for what in ("load", MERGE, RESTORE):
            yield replace(about, what=f"the LyCORIS library, {what}", to="the limit in its process", **found[what])
        note = f"of {found['touched']:,}" + ALIAS * (bench.device == "cpu" and found["left"] > 0)
        yield replace(about, what=f"numbers left changed after its {RESTORE}", value=found["left"], unit="", note=note)
        file.unlink()


def _installed(bench: Bench) -> Path:
    if (FOLDER / "lycoris").is_dir():
        return FOLDER
    bench.tick(f"installing {PACKAGES[0]} into {FOLDER.relative_to(ROOT)}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--target", str(FOLDER), *PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"{PACKAGES[0]} could not be installed: {done.stderr.strip().splitlines()[-1:]}")
    return FOLDER


def _measured(bench: Bench, folder: Path, file: Path) -> dict | str:
    """Return the figures that the other process prints, or the last line of its error."""
    arguments = [bench.model, str(file), bench.device, str(bench.dtype).removeprefix("torch."), str(bench.rounds)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.swap.lycoris_process", *arguments, str(torch.get_num_threads())],
        cwd=folder,  # first on its path, so that `lycoris` is theirs
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return f"could not be measured: {(done.stderr.strip().splitlines() or ['it was killed'])[-1]}"
    return json.loads(done.stdout.strip().splitlines()[-1])
