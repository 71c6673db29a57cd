"""Workers in a process of their own, over the Redis and the store of a test."""

import os
import subprocess
import sys
from pathlib import Path

from app.shared.settings import Settings

ROOT = Path(__file__).parents[3]


def worker_process(script: str, settings: Settings, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script until it ends; more: further settings, without RADIATA_."""
    assert settings.redis_url is not None
    facts = {"REDIS_URL": settings.redis_url.get_secret_value(), "DATA_DIR": str(settings.data_dir)} | more
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {f"RADIATA_{name}": text for name, text in facts.items()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
