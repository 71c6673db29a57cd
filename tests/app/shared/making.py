"""Requests, versions and uploads, made up: what the tests of the ledger and its neighbours accept and admit."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.generation import ResolvedRequest
from app.shared.wire.model import ModelProfile
from app.shared.wire.training import ResolvedTraining
from app.shared.wire.upload import Upload, UploadStatus

MODEL = "emoji-64"


def request(**fields: Any) -> ResolvedRequest:
    """A request as it is resolved."""
    plain = {
        "prompt": "a red apple",
        "negative_prompt": "",
        "model": MODEL,
        "adapters": [],
        "width": 64,
        "height": 64,
        "steps": 3,
        "guidance_scale": 3.0,
        "sampler": None,
        "seed": 7,
        "count": 1,
    }
    return ResolvedRequest.model_validate(plain | fields)


def training_request(**fields: Any) -> ResolvedTraining:
    """A training as it is resolved."""
    plain = {
        "name": "style",
        "dataset": f"dataset:{'d' * 64}",
        "algorithm": "lokr",
        "base": "b" * 64,
        "model": MODEL,
        "steps": 40,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "seed": 7,
        "checkpoint_every": 5,
    }
    return ResolvedTraining.model_validate(plain | fields)


def version(name: str, content: bytes = b"", **fields: Any) -> AdapterVersion:
    """A version that has no number yet, of bytes that exist in name only."""
    plain = {
        "name": name,
        "version": 1,
        "sha256": sha256(content).hexdigest(),
        "size_bytes": len(content),
        "fits": [MODEL],
        "components": ["unet"],
        "created_at": datetime.now(UTC),
    }
    return AdapterVersion.model_validate(plain | fields)


def upload(upload_id: str = "0" * 32, content: bytes = b"bytes") -> Upload:
    """An upload as the API stages it."""
    return Upload(
        id=upload_id,
        status=UploadStatus.INSPECTING,
        name="something",
        sha256=sha256(content).hexdigest(),
        size_bytes=len(content),
        created_at=datetime.now(UTC),
    )


def profile(**fields: Any) -> ModelProfile:
    """What an engine says of its model."""
    plain = {
        "name": MODEL,
        "fingerprint": "0" * 64,
        "pipeline": "StableDiffusionPipeline",
        "components": ["unet", "text_encoder"],
        "dtype": "float32",
        "device": "cpu",
        "width": 64,
        "height": 64,
        "max_edge": 128,
        "steps": 20,
        "guidance_scale": 3.0,
        "samplers": ["ddim"],
    }
    return ModelProfile.model_validate(plain | fields)
