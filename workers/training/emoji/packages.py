"""The npm packages that the drawings and their names come from."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

PACKAGES = {
    "noto": "emoji-datasource-google@16.0.0",
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
    "twemoji": "emoji-datasource-twitter@16.0.0",
    "names": "emojibase-data@17.0.0",
}
"""What each package is for; licences: Apache-2.0 (noto), MIT (fluent, names), CC-BY 4.0 (twemoji: only measured on)."""

DRAWINGS = {"noto": "img/google/64", "fluent": "assets", "twemoji": "img/twitter/64"}
"""The folder of drawings inside each vendor's package."""


def fetch(cache: Path, progress: Callable[[str], None] = print) -> None:
    """Bring every package that is not there yet into `cache/<name>/`, with the reader's own npm client and registry.

    Raises `subprocess.CalledProcessError` when npm does.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for name, spec in PACKAGES.items():
        target = cache / name
        if target.is_dir():
            continue
        archive = cache / _archive_name(spec)
        if not archive.exists():
            progress(f"npm pack {spec}")
            subprocess.run(["npm", "pack", spec, "--silent"], cwd=cache, check=True, stdout=subprocess.DEVNULL)
        partial = cache / f"{name}.partial"
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        (partial / "package").rename(target)
        partial.rmdir()


def _archive_name(spec: str) -> str:
    # npm pack: "@scope/name@1.0.0" -> "scope-name-1.0.0.tgz"
    name, version = spec.rsplit("@", 1)
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
