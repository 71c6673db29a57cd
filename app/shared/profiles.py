"""What the base models are: written to storage by the engine that loaded one, read by everybody else."""

import time
from collections.abc import Mapping

from app.shared.errors import NotFound, Unavailable
from app.shared.schema import ModelProfile
from app.shared.settings import Settings
from app.shared.storage import Storage

Shapes = dict[str, dict[str, list[int]]]  # component -> parameter name -> shape
KEEP_S = 2.0  # a profile changes when a worker starts with another base: rarely, and not in a hurry


class Profiles:
    """Reads and writes model profiles; reading is kept for two seconds."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings
        self._kept: dict[str, tuple[float, ModelProfile | None]] = {}

    def publish(self, profile: ModelProfile, shapes: Mapping[str, Mapping[str, list[int]]]) -> bool:
        """Write what a model is, shapes first: whoever sees a profile finds its shapes. Say whether that was news."""
        data = profile.model_dump_json().encode()
        if self._storage.get(f"models/{profile.name}.json") == data:
            return False  # its fingerprint and the versions that read it are the same, so its shapes are
        self._storage.put_json(f"models/{profile.name}.shapes.json", shapes)
        self._storage.put(f"models/{profile.name}.json", data)
        return True

    def get(self, name: str) -> ModelProfile:
        """The profile of a model; raises NotFound (not configured) or Unavailable (no engine has loaded it yet)."""
        if name not in self._settings.models:
            known = ", ".join(self._settings.models)
            raise NotFound("model_unknown", f"there is no model {name!r} here; known: {known}")
        profile = self._find(name)
        if profile is None:
            raise Unavailable("model_not_ready", f"no worker has loaded model {name!r} yet; start one, or wait for it")
        return profile

    def ready(self) -> list[ModelProfile]:
        """Every configured model that an engine has loaded at least once."""
        return [profile for name in self._settings.models if (profile := self._find(name))]

    def shapes(self, name: str) -> Shapes:
        """Shapes of all weights of a model that is ready."""
        shapes = self._storage.get_json(f"models/{name}.shapes.json")
        if shapes is None:
            raise Unavailable("model_not_ready", f"no worker has loaded model {name!r} yet; start one, or wait for it")
        return shapes

    def _find(self, name: str) -> ModelProfile | None:
        until, profile = self._kept.get(name, (0.0, None))
        if time.monotonic() >= until:
            data = self._storage.get(f"models/{name}.json")
            profile = None if data is None else ModelProfile.model_validate_json(data)
            self._kept[name] = (time.monotonic() + KEEP_S if profile else 0.0, profile)
        return profile
