"""What is old goes, but for what has a star; each turn a part of it, whoever dies in between."""

from datetime import timedelta
from itertools import count

import pytest
from redis import Redis

from app.outgoing import keeping
from app.outgoing.keeping import LOOKED, TASK, Keeping
from app.shared.errors import Gone
from app.shared.generations import Ledger
from app.shared.lifecycle import now
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import request
from tests.app.shared.test_forgetting import Died, Dying, ended

DAYS = 30


@pytest.fixture
def settings(settings: Settings, elsewhere: str | None) -> Settings:
    return settings.model_copy(update={"storage_url": elsewhere})


@pytest.fixture
def kept(settings: Settings) -> Settings:
    return settings.model_copy(update={"keep_days": DAYS})


def turn(storage: Storage, redis: Redis, settings: Settings, days: float) -> Keeping:
    """One turn, so many days from now, of a process that looks through storage first."""
    redis.delete(LOOKED)
    one = Keeping(storage, redis, settings, lambda: now() + timedelta(days=days))
    assert one.run(TASK, lambda: None)
    return one


def test_what_is_old_goes_but_for_stars(storage: Storage, redis: Redis, settings: Settings, kept: Settings) -> None:
    ledgers = [Ledger(storage, redis, kept), Ledger(storage, redis, kept, "ada")]
    starred = [ended(one, storage).id for one in ledgers]
    old = [ended(one, storage).id for one in ledgers]
    waiting = ledgers[0].accept(request()).id
    for ledger, one in zip(ledgers, old, strict=True):
        ledger.star(one, False)
    for days, of in ((DAYS - 1, kept), (1000, settings)):  # not yet; unset, never
        turn(storage, redis, of, days)
        assert all(ledger.get(one) for ledger, one in zip(ledgers, old, strict=True))
    turn(storage, redis, kept, DAYS + 1)
    for ledger, one, star in zip(ledgers, old, starred, strict=True):
        with pytest.raises(Gone):
            ledger.get(one)
        assert ledger.get(star).starred
    assert ledgers[0].get(waiting).status == "queued"


def test_each_turn_does_a_part(storage: Storage, redis: Redis, kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST", 2)
    ledger = Ledger(storage, redis, kept)
    for _ in range(5):
        ledger.cancel(ledger.accept(request()).id)
    one = turn(storage, redis, kept, DAYS + 1)
    for left in (3, 1, 0):
        assert len(ledger.list(9, None)[0]) == left
        one.run(TASK, lambda: None)


def test_a_turn_that_dies_is_gone_on_with(storage: Storage, redis: Redis, kept: Settings) -> None:
    ledger = Ledger(storage, redis, kept, "ada")
    one = ended(ledger, storage)
    ledger.star(one.id, False)
    for k in count():
        try:
            turn(Dying(storage, k), redis, kept, DAYS + 1)  # type: ignore[arg-type]
        except Died:
            continue
        break
    assert k > 3
    turn(storage, redis, kept, DAYS + 1)  # by then it was deleted long ago
    assert ledger.list(9, None) == ([], None)
    # Of the store itself, what was told, and what was used
    aside = ("webhooks", "store.json", "unindexed/adopted", "unindexed/deleted")
    assert [one for one in storage.keys("") if not one.startswith(aside)] == []
