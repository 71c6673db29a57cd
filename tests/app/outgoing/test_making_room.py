"""Where pictures take more than they may, the oldest go until they do not, and nothing else, whoever dies."""

from datetime import timedelta
from itertools import count

import pytest
from redis import Redis

from app.outgoing import making_room
from app.outgoing.keeping import LOOKED, TASK, Keeping
from app.shared.errors import Gone
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.lifecycle import now
from app.shared.segments import Segments
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.usage import Usage
from app.shared.webhooks import Webhooks
from app.shared.wire.generation import Image, Status
from app.shared.wire.webhook import EVENTS, Webhook
from tests.app.outgoing.test_gathering import gather
from tests.app.shared.making import request
from tests.app.shared.test_forgetting import Died, Dying

SIZE = 100
PICTURE = Image(index=0, url="/", seed=7, width=64, height=64, sha256="a" * 64, size_bytes=SIZE)


def bounded(settings: Settings, **said: int) -> Settings:
    return settings.model_copy(update=said)


def drawn(storage: Storage, redis: Redis, settings: Settings, number: int, owner: str = "") -> list[str]:
    """So many that have ended, the oldest first, each with a picture of 100 bytes."""
    ledger, ids = Ledger(storage, redis, settings, owner), list[str]()
    for _ in range(number):
        one = ledger.accept(request())
        storage.put(image_key(one.id, 0), bytes(SIZE))
        ledger.finish(one.model_copy(update={"status": Status.SUCCEEDED, "images": [PICTURE]}))
        ids.append(one.id)
    return ids


def turn(storage: Storage, redis: Redis, settings: Settings) -> None:
    assert Keeping(storage, redis, settings).run(TASK, lambda: None)


def left(storage: Storage) -> set[str]:
    return {key.split("/")[1] for key in storage.keys("generations") if key.endswith(".png")}


@pytest.mark.parametrize("gathered", [False, True])
def test_the_oldest_go_until_there_is_room(storage: Storage, redis: Redis, settings: Settings, gathered: bool) -> None:
    ids = drawn(storage, redis, settings, 6)
    ledger = Ledger(storage, redis, settings)
    ledger.star(ids[0], True)
    waiting = ledger.accept(request()).id
    if gathered:
        gather(ledger, 2)
    turn(storage, redis, settings)
    assert left(storage) == {*ids}, "unset, nothing goes"
    turn(storage, redis, bounded(settings, keep_bytes=350))
    assert left(storage) == {ids[0], *ids[4:]}
    for one in ids[1:4]:
        with pytest.raises(Gone):
            ledger.get(one)
    assert ledger.get(waiting).status == "queued" and ledger.get(ids[0]).starred
    turn(storage, redis, bounded(settings, keep_bytes=350))
    assert left(storage) == {ids[0], *ids[4:]}
    ledger.delete(ids[5])  # by whoever asked for it: that made room too
    turn(storage, redis, bounded(settings, keep_bytes=200))
    assert left(storage) == {ids[0], ids[4]}
    turn(storage, redis, bounded(settings, keep_bytes=0))
    assert left(storage) == {ids[0]}, "a star is passed over whatever is asked for"
    (day,) = Usage(storage, ledger.following).days(None)
    assert (day.generations, day.size_bytes) == (6, 600), "what was used stays counted"


def test_each_owner_has_a_share(storage: Storage, redis: Redis, settings: Settings) -> None:
    first, adas = drawn(storage, redis, settings, 2), drawn(storage, redis, settings, 5, "ada")
    turn(storage, redis, bounded(settings, keep_bytes_per_owner=300))
    assert left(storage) == {*first, *adas[2:]}
    turn(storage, redis, bounded(settings, keep_bytes_per_owner=300, keep_bytes=400))
    assert left(storage) == {first[1], *adas[2:]}, "the oldest of all"


def test_what_is_still_to_be_told_of_stays(storage: Storage, redis: Redis, settings: Settings) -> None:
    ids = drawn(storage, redis, settings, 2)
    hook = Webhook(url="https://127.0.0.1:9/x", events=EVENTS)
    Webhooks(storage, redis).begin(Ledger(storage, redis, settings).get(ids[0]), hook)
    turn(storage, redis, bounded(settings, keep_bytes=100))
    assert left(storage) == {ids[0]}


def test_a_turn_does_a_part_and_another_goes_on(
    storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making_room, "MOST", 2)
    monkeypatch.setattr(making_room, "AT_ONCE", 1)
    ids = drawn(storage, redis, settings, 5)
    for remaining in (3, 1, 0):
        turn(storage, redis, bounded(settings, keep_bytes=0))
        assert left(storage) == {*ids[5 - remaining :]}


def test_whoever_dies_leaves_the_rest_to_the_next(storage: Storage, redis: Redis, settings: Settings) -> None:
    ids = drawn(storage, redis, settings, 3)
    some = bounded(settings, keep_bytes=100)
    Segments(storage).adopt()  # no thread is to make the index, in which nobody would see a death
    for at in count():
        try:
            turn(Dying(storage, at), redis, some)  # type: ignore[arg-type]
        except Died:
            if at % 5 == 0:
                redis.flushdb()
            continue
        break
    assert at > 3
    redis.delete(LOOKED)  # and what was begun when somebody died is gone on with an hour later
    assert Keeping(storage, redis, some, lambda: now() + timedelta(hours=2)).run(TASK, lambda: None)
    assert left(storage) == {ids[2]}
    assert [one.id for one in Ledger(storage, redis, settings).list(9, None)[0]] == [ids[2]]
