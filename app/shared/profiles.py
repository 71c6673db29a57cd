"""What the base models are: written to storage by the engine that loaded one, read by everybody else."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from app.shared.at_once import Errands
from app.shared.errors import NotFound, Unavailable, Unreadable
from app.shared.facts import BaseDenoiser, BaseLayers, BaseSites, BaseTokenizers, TokenizerFile
from app.shared.record_format import stamped
from app.shared.records import DENOISER, LAYERS, PROFILE, SHAPES, SITES, TOKENIZERS, Shapes
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.model import ModelProfile

log = structlog.get_logger()

KEEP_S = 2.0  # a profile changes when a worker starts with another base: rarely, and not in a hurry
FACTS = {BaseTokenizers: "tokenizers", BaseSites: "sites", BaseDenoiser: "denoiser", BaseLayers: "layers"}
BaseFacts = BaseTokenizers | BaseSites | BaseDenoiser | BaseLayers


class Profiles:
    """Reads and writes model profiles; reading is kept for two seconds."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings
        self._kept: dict[str, tuple[float, ModelProfile | None]] = {}
        self._tokenizers: dict[str, list[TokenizerFile]] = {}  # by fingerprint
        self._none_until: dict[str, float] = {}  # of fingerprints without: when to look again
        self._errands = Errands()
        self._told: set[str] = set()  # records that cannot be read, as long as that is so

    def publish(
        self,
        profile: ModelProfile,
        shapes: Mapping[str, Mapping[str, list[int]]],
        facts: Sequence[BaseFacts] = (),
    ) -> bool:
        """Write what a model is, shapes first: whoever sees a profile finds its shapes. Say whether that was news.

        facts: what acceptance and intake judge by, without the model.
        """
        written = False
        records = {
            **{f"models/{profile.name}.{FACTS[type(one)]}.json": stamped(one.model_dump_json()) for one in facts},
            f"models/{profile.name}.shapes.json": stamped(json.dumps(shapes)),
            f"models/{profile.name}.json": PROFILE.write(profile),
        }
        for key, data in records.items():
            if self._storage.get(key) != data:
                self._storage.put(key, data)
                written = True
        return written

    def get(self, name: str) -> ModelProfile:
        """The profile of a model.

        Raises NotFound (not configured), Unavailable (no engine has loaded it yet) or Unreadable.
        """
        if name not in self._settings.models:
            known = ", ".join(self._settings.models)
            raise NotFound("model_unknown", f"there is no model {name!r} here; known: {known}")
        profile = self.found(name)
        if profile is None:
            message = f"no worker has loaded model {name!r} yet; start one, or wait for it: GET /readyz says why"
            raise Unavailable("model_not_ready", message)
        return profile

    def found(self, name: str) -> ModelProfile | None:
        """The profile of a configured model; None where no engine has loaded it yet. Raises Unreadable."""
        until, profile = self._kept.get(name, (0.0, None))
        if time.monotonic() >= until and not (profile and self._errands.under_way(name)):
            profile = self.stored(name)
            self._kept[name] = (time.monotonic() + KEEP_S if profile else 0.0, profile)
        return profile

    def ready(self) -> list[ModelProfile]:
        """Every configured model that an engine has loaded at least once, and whose profile can be read."""
        found = []
        for name in self._settings.models:
            try:
                found.append(self.found(name))
                self._told.discard(name)
            except Unreadable as error:
                if name not in self._told:
                    log.error("record_unreadable", key=error.key, error=error.message)
                self._told.add(name)
        return [profile for profile in found if profile]

    def shapes(self, name: str) -> Shapes:
        """Shapes of all weights of a model that is ready; raises Unreadable."""
        shapes = SHAPES.get(self._storage, f"models/{name}.shapes.json")
        if shapes is None:
            raise Unavailable("model_not_ready", f"no worker has loaded model {name!r} yet; start one, or wait for it")
        return shapes

    def stored(self, name: str) -> ModelProfile | None:
        """The profile of a model as storage has it now; raises Unreadable."""
        return PROFILE.get(self._storage, f"models/{name}.json")

    def replaced(self, name: str) -> ModelProfile | None:
        """The same where a worker is about to publish another: None for one that cannot be read; raises Newer."""
        return PROFILE.replaced(self._storage, f"models/{name}.json")

    def tokenizers(self, profile: ModelProfile) -> list[TokenizerFile]:
        """The tokenizers of a model; none where its worker wrote none that fit and can be read."""
        if profile.fingerprint in self._tokenizers:
            return self._tokenizers[profile.fingerprint]
        until = self._none_until.get(profile.fingerprint, 0.0)
        if time.monotonic() >= until and not (until and self._errands.under_way(f"tokenizers {profile.fingerprint}")):
            found = None
            with suppress(Unreadable):  # the engine judges
                found = TOKENIZERS.get(self._storage, f"models/{profile.name}.tokenizers.json")
            if found and found.fingerprint == profile.fingerprint:
                return self._tokenizers.setdefault(profile.fingerprint, found.tokenizers)
            self._none_until[profile.fingerprint] = time.monotonic() + KEEP_S
        return []

    def sites(self, profile: ModelProfile) -> BaseSites | None:
        """The layers of a model that take adapters beside them; None where its worker wrote none. Raises Unreadable."""
        found = SITES.get(self._storage, f"models/{profile.name}.sites.json")
        return found if found and found.fingerprint == profile.fingerprint else None

    def layers(self, profile: ModelProfile) -> BaseLayers | None:
        """The layers of a model that can be trained; None where its worker wrote none that can be read."""
        found = None
        with suppress(Unreadable):  # the worker judges
            found = LAYERS.get(self._storage, f"models/{profile.name}.layers.json")
        return found if found and found.fingerprint == profile.fingerprint else None

    def denoiser(self, profile: ModelProfile) -> BaseDenoiser | None:
        """How the denoiser of a model is made; None where its worker wrote it not. Raises Unreadable."""
        found = DENOISER.get(self._storage, f"models/{profile.name}.denoiser.json")
        return found if found and found.fingerprint == profile.fingerprint else None
