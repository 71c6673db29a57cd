"""Generations drawn by an engine that is in the test, and what they left in storage."""

import hashlib
import json
from typing import Any

from redis import Redis

from app.shared.catalog import file_key
from app.shared.events import stream_key
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.storage import Storage
from app.shared.wire.generation import Generation
from tests.app.shared.making import request
from tests.workers import toy
from workers.drawing.engine import Engine


def use(storage: Storage, seed: int, strength: float = 1.0) -> dict[str, Any]:
    data = toy.adapter(seed)
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(file_key(sha256), data)
    return {"ref": f"a{seed}", "name": f"a{seed}", "version": 1, "sha256": sha256, "strength": strength}


def drawn(engine: Engine, ledger: Ledger, **fields: Any) -> Generation:
    generation = ledger.accept(request(**fields))
    engine.run(generation.id)
    return ledger.get(generation.id)


def png(storage: Storage, generation: Generation, index: int = 0) -> bytes:
    data = storage.get(image_key(generation.id, index))
    assert data is not None, generation
    return data


def pictures(storage: Storage, generation: Generation) -> list[str]:
    return [key for key in storage.keys(f"generations/{generation.id}") if key.endswith(".png")]


def steps_told(redis: Redis, generation: Generation) -> list[dict[str, int]]:
    """The progress events of a generation, in order."""
    entries: Any = redis.xrange(stream_key(generation.id))
    return [json.loads(entry[b"data"]) for _, entry in entries if entry[b"kind"] == b"progress"]
