"""Who could draw what waits, as living workers and the stored profiles have it, whatever this process is set to.

The settings of one process say only that a model is expected back: another machine may have another `RADIATA_MODELS`.
"""

import re
from contextlib import suppress
from functools import cache
from typing import Literal

from redis import Redis

from app.shared.errors import Unreadable
from app.shared.preprocessing import served
from app.shared.profiles import Profiles
from app.shared.queue import BASE_DIGITS
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.values import NAME_PATTERN
from app.shared.worker_state import worker_states

Impossible = Literal["base_changed", "model_removed", "other_preprocessor"]


class Prospects:
    """One look at them."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._profiles = Profiles(storage, settings)
        self._settings = settings
        states = worker_states(redis)
        self._living = {
            (one.model, one.base[:BASE_DIGITS], needs) for one in states for needs in ("", *served(one.preprocessors))
        }
        self._loading = {one.model for one in states if not one.base}
        self._published = cache(self._read)  # each profile is read once a look

    def against(self, model: str, base: str, needs: str = "") -> Impossible | None:
        """Why nobody can be expected to draw with that base of a model, or None; raises Unavailable.

        base: its fingerprint, or the first digits of it; empty for any. needs: digest of what its maps are made with.
        """
        base = base[:BASE_DIGITS]
        if (model, base, needs) in self._living:
            return None
        if (model, base, "") in self._living:  # one that loads may be about to have the models
            return None if model in self._loading else "other_preprocessor"
        if base and (published := self._published(model)) and published != base:
            return "base_changed"
        lives = any(one == model for one, _, _ in self._living)
        return None if lives or model in self._settings.models else "model_removed"

    def _read(self, model: str) -> str | None:
        """First digits of the base that is published; None where nothing is, or nothing that can be read."""
        if re.fullmatch(NAME_PATTERN, model):  # names of queues come from Redis
            with suppress(Unreadable):
                if stored := self._profiles.stored(model):
                    return stored.fingerprint[:BASE_DIGITS]
        return None
