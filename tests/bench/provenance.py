"""Where and when a figure was measured: date, commit, machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime

import torch


def provenance() -> dict[str, str]:
    """Facts that belong beside every figure."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}",
        "load": f"{os.getloadavg()[0]:.1f}",
    }
