"""`radiata worker NAME` for a base that cannot be served ends with the sentence that says why; so does the API."""

import json
import os
import subprocess
import sys
from pathlib import Path

from redis import Redis

from app.accepting.liveness import Liveness
from app.shared.settings import Settings
from tests.workers.dispatch.processes import ROOT


def test_a_worker_without_a_redis_ends_with_a_sentence(tmp_path: Path) -> None:
    facts = {"REDIS_URL": "redis://127.0.0.1:1", "DATA_DIR": str(tmp_path), "STORAGE_PATIENCE_S": "0.1"}
    worker = subprocess.run(
        [sys.executable, "-m", "workers", "generate"],
        env=os.environ | {f"RADIATA_{name}": text for name, text in facts.items()},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert worker.returncode == 1 and "Traceback" not in worker.stderr
    waited, ended = worker.stderr.splitlines()
    assert json.loads(waited)["event"] == "redis_away"
    assert ended.startswith("Redis does not answer") and ended.endswith("say in RADIATA_REDIS_URL where it is")


def test_a_worker_ends_with_the_sentence_that_says_why(tmp_path: Path, redis: Redis, settings: Settings) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "LTXPipeline"}))
    assert settings.redis_url is not None
    models = {"film": str(tmp_path), "other": "bundled:emoji-64"}
    facts = {"REDIS_URL": settings.redis_url.get_secret_value(), "DATA_DIR": str(settings.data_dir)}
    worker = subprocess.run(
        [sys.executable, "-m", "workers", "generate", "film"],
        env=os.environ | {f"RADIATA_{name}": text for name, text in (facts | {"MODELS": json.dumps(models)}).items()},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    why = "LTXPipeline draws moving pictures; this service draws still pictures from a prompt alone"
    assert worker.returncode == os.EX_DATAERR
    assert worker.stderr.splitlines()[-1] == f"model 'film' ({tmp_path}) could not be loaded: {why}"
    assert "Traceback" not in worker.stderr
    served = settings.model_copy(update={"models": models})
    not_ready = Liveness(redis, served).readiness([]).not_ready
    assert not_ready["film"] == f"it could not be loaded: {why}"
    assert "could not" not in not_ready["other"]
