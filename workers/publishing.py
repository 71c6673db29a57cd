"""What of a base model everybody else reads: its profile, shapes and bundled adapters, put into storage by its engine.

Of workers whose folders differ under one model name the first that lives wins: what the profile in storage says is what
acceptance pins, so it changes only when no living worker has that base any more. An engine that stays out looks again
whenever it has nothing to do; until then it draws what was accepted for its own base alone.
"""

import structlog
from redis import Redis

from app.shared.errors import Unreadable
from app.shared.holdings import holdings
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from workers.intake import Intake
from workers.models.loading import Base
from workers.patience import Patience, PatientStorage

log = structlog.get_logger()


class Publisher:
    """Puts one base into storage, as soon as it may."""

    def __init__(self, base: Base, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._base = base
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._patience = Patience(settings.storage_patience_s)
        self._told = False
        self.published = False

    def offer(self) -> None:
        """Publish the base, unless a living worker has the one that is published; raises Unavailable."""
        profiles = Profiles(PatientStorage(self._storage, self._patience), self._settings)
        with self._patience.during():
            if other := self._served(profiles):
                if not self._told:
                    log.warning("other_base", model=self._base.profile.name, served=other, own=self._own)
                self._told = True
                return
            new = profiles.publish(self._base.profile, self._base.shapes(), self._base.papers())
        intake = Intake(self._storage, self._redis, self._settings)
        intake.publish_bundled(self._base.folder / "adapters", None if new else self._base.profile.name)
        self.published = True

    @property
    def _own(self) -> str:
        return self._base.profile.fingerprint

    def _served(self, profiles: Profiles) -> str | None:
        """Fingerprint of another base that is published and that a living worker has."""
        name = self._base.profile.name
        try:
            stored = profiles.stored(name)
        except Unreadable:  # nobody can be served by it
            return None
        if stored is None or stored.fingerprint == self._own:
            return None
        living = any(one.model == name and one.base == stored.fingerprint for one in holdings(self._redis))
        return stored.fingerprint if living else None
