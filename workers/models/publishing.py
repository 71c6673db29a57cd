"""What of a base model everybody else reads: its profile, shapes and bundled adapters, put into storage by its engine.

Of workers whose folders differ under one model name the first that lives wins: what the profile in storage says is what
acceptance pins, so it changes only when no living worker has that base any more. An engine that stays out looks again
whenever it has nothing to do, and so does one that is published: another may have taken its place while Redis had
forgotten it. Until then it draws what was accepted for its own base alone.
"""

from contextlib import suppress
from dataclasses import replace

import structlog
from redis import Redis

from app.shared.errors import Newer
from app.shared.profiles import Profiles
from app.shared.records import tell
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.worker_state import worker_states
from workers.control.preprocessors import MODELS_OF, fingerprints
from workers.intake import Intake
from workers.models.loading import LoadedModel
from workers.patience import Patience, PatientStorage

log = structlog.get_logger()


class Publisher:
    """Puts one base into storage, as soon as it may."""

    def __init__(self, base: LoadedModel, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._base = base
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._written = False  # all that it publishes, by this process
        self._reported = ""  # the base that is published instead, if that was logged

    def offer(self) -> None:
        """Publish the base, unless a living worker has the one that is published; raises Unavailable after patience."""
        patience = Patience(self._settings.storage_patience_s)
        with patience.during():
            self._offer(PatientStorage(self._storage, patience))

    def look_again(self) -> None:
        """Do the same without waiting, where what is published is not this base; raises Unavailable, RedisError."""
        self.note_fetched()
        self._offer(self._storage)

    @property
    def preprocessors(self) -> dict[str, list[str]]:
        """Fingerprints of what makes each kind of maps here; none of what is named and did not come yet."""
        profile = self._base.profile
        kinds = MODELS_OF if "control" in profile.adapter_kinds else {}
        named = {kind: list[str]() for kind, names in kinds.items() if set(names) <= {*self._settings.preprocessors}}
        return named | profile.preprocessors

    def note_fetched(self) -> bool:
        """Note preprocessors that came to this machine since; say whether any did, which the next offer tells then."""
        profile = self._base.profile
        if "control" not in profile.adapter_kinds:
            return False
        came: dict[str, list[str]] = {}
        with suppress(OSError):  # a file of it that cannot be read now is looked at again
            came = fingerprints(self._settings, known=profile.preprocessors)
        if came:
            noted = profile.model_copy(update={"preprocessors": profile.preprocessors | came})
            self._base, self._written = replace(self._base, profile=noted), False
        return bool(came)

    def _offer(self, storage: Storage) -> None:
        profiles = Profiles(storage, self._settings)
        try:
            replaced = profiles.replaced(self._base.profile.name)  # None where nobody is served by it
        except Newer as error:  # newer code serves the model
            tell(self._redis, error)
            return
        stored, own = replaced.fingerprint if replaced else "", self._base.profile.fingerprint
        if stored == own and self._written:
            return
        if stored and stored != own and self._lives(stored):
            if stored != self._reported:
                log.warning("other_base", model=self._base.profile.name, served=stored, own=own)
            self._reported = stored
            return
        new = profiles.publish(self._base.profile, self._base.shapes(), self._base.facts())
        intake = Intake(self._storage, self._redis, self._settings)
        intake.publish_bundled(self._base.folder / "adapters", None if new else self._base.profile.name)
        self._written, self._reported = True, ""

    def _lives(self, base: str) -> bool:
        model = self._base.profile.name
        return any((one.model, one.base) == (model, base) for one in worker_states(self._redis))
