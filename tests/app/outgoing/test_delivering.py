"""A webhook reaches whoever asked for it, signed, once, whatever dies or is down meanwhile."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError
from redis import Redis
from standardwebhooks.webhooks import WebhookVerificationError

from app.deps import seen_from_outside
from app.links import Links
from app.outgoing.courier import Courier
from app.outgoing.delivering import PAUSES_S, Delivering
from app.outgoing.starting import Starting
from app.shared.accepted import Aside
from app.shared.errors import NotFound
from app.shared.fetching.fetcher import Fetcher
from app.shared.generation_keys import manifest_key, pending_key
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.outgoing import LOOKED, Outgoing
from app.shared.outgoing import due_key as when_due
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.webhooks import KIND, Webhooks, due_key, webhook_secret
from app.shared.wire.generation import Generation, GenerationRequest, Image, Status
from app.shared.wire.key import SCOPES
from app.shared.wire.webhook import Delivery, Webhook
from tests.app.outgoing.receiver import Receiver
from tests.app.shared.making import request


class World:
    """A process of the API without its routes, and a clock of its own."""

    def __init__(self, settings: Settings, redis: Redis, storage: Storage) -> None:
        self.now = time.time()
        self.ledger = Ledger(storage, redis, settings)
        self.webhooks = Webhooks(storage, redis)
        self.secret_of = partial(webhook_secret, Signer(storage), settings)
        self.secret = self.secret_of()
        self.seen: Callable[[Generation], Generation] = lambda one: one
        fetcher = Fetcher(("127.0.0.1",))
        handler = Delivering(
            self.webhooks, self.ledger, fetcher, self.secret_of, lambda one: self.seen(one), lambda: self.now
        )
        self.courier = Courier(Outgoing(redis, lambda: self.now), {KIND: handler, "start": Starting(self.ledger)})

    def end(self, url: str, *events: str, **metadata: str) -> str:
        """Have a generation accepted and failed; its id."""
        webhook = Webhook.model_validate({"url": url} | ({"events": events} if events else {}))
        generation = self.ledger.accept(request(), aside=Aside(webhook=webhook, metadata=metadata))
        self.ledger.fail(generation, "engine_error", "it broke, for a test")
        return generation.id

    def look(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.courier.look(self.courier.do)

    @property
    def delivery(self) -> Delivery:
        return self.webhooks.list(10)[0]


@pytest.fixture
def world(settings: Settings, redis: Redis, storage: Storage) -> World:
    return World(settings, redis, storage)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver(200)
    with one.server.serving():
        yield one


def test_an_end_is_told_signed(world: World, receiver: Receiver) -> None:
    told = world.end(receiver.url, order="17")
    world.look(1)
    said = receiver.verified(world.secret)
    assert (said["type"], said["data"]["id"], said["data"]["metadata"]) == ("generation.failed", told, {"order": "17"})
    assert said["data"]["error"]["code"] == "engine_error"
    assert receiver.ids == [told]
    with pytest.raises(WebhookVerificationError):
        receiver.verified("whsec_" + "A" * 32)
    assert (world.delivery.status, world.delivery.tries, world.delivery.next_at) == ("delivered", 1, None)
    assert "hunter2" not in world.delivery.model_dump_json() and "hunter2" not in str(said)
    world.look(10)
    assert len(receiver.ids) == 1


def test_a_message_of_another_owner_is_signed_with_theirs_alone(
    settings: Settings, world: World, receiver: Receiver, redis: Redis, storage: Storage
) -> None:
    world.ledger = Ledger(storage, redis, settings, "ada")
    world.end(receiver.url)
    world.look(1)
    assert receiver.verified(world.secret_of("ada"))["type"] == "generation.failed"
    for other in ("", "bob"):
        with pytest.raises(WebhookVerificationError):
            receiver.verified(world.secret_of(other))


def test_addresses_in_a_message_open_their_picture(
    settings: Settings, world: World, receiver: Receiver, storage: Storage
) -> None:
    links, keyring = Links(Signer(storage), 3600), Keyring(storage)
    outside = settings.model_copy(update={"public_url": "https://draw.example.org/draw"})
    world.seen = partial(seen_from_outside, outside, lambda: keyring.ring().needed, links)
    for signed in (False, True):
        if signed:
            keyring.add(SCOPES)
        accepted = world.ledger.accept(request(), aside=Aside(webhook=Webhook.model_validate({"url": receiver.url})))
        picture = Image(index=0, url=f"/v1/images/{accepted.id}/0.png", seed=7, width=64, height=64, sha256="0" * 64)
        world.ledger.finish(accepted.model_copy(update={"status": Status.SUCCEEDED, "images": [picture]}))
        world.look(1)
        url = urlsplit(receiver.verified(world.secret)["data"]["images"][0]["url"])
        assert (url.netloc, url.path) == ("draw.example.org", f"/draw{picture.url}")
        assert links.opens(picture.url, url.query.encode()) is signed


def test_who_wants_to_hear_of_success_hears_of_nothing_else(world: World, receiver: Receiver) -> None:
    world.end(receiver.url, "generation.succeeded")
    world.look(1)
    assert not receiver.ids and not world.webhooks.list(10)


def test_a_receiver_that_is_down_for_an_hour_is_told_once_it_is_up(world: World, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 503, 200]
    told = world.end(receiver.url)
    for seconds in range(0, 4 * 3600, 60):
        world.look(60 if seconds else 1)
    assert receiver.ids == [told] * 4, "the same message, each time"
    assert receiver.verified(world.secret, 0)["data"]["id"] == told
    assert world.delivery.status == "delivered"
    assert [one.status for one in world.delivery.last] == [500, 302, 503, 200]


def test_one_that_stays_down_is_given_up_after_a_day(world: World, receiver: Receiver) -> None:
    receiver.statuses = [500]
    world.end(receiver.url)
    begun = world.now
    while world.delivery.status == "waiting":
        world.look(600)
    assert 22 * 3600 < world.now - begun < 26 * 3600
    assert len(receiver.ids) == len(PAUSES_S) + 1
    assert "answered 500" in world.delivery.last[-1].error


def test_one_that_is_gone_or_inside_is_not_called_again(world: World, receiver: Receiver) -> None:
    receiver.statuses = [410]
    world.end(receiver.url)
    world.look(1)
    assert world.delivery.status == "failed" and world.delivery.tries == 1
    world.end("https://10.0.0.1/hook")
    world.look(1)
    assert world.delivery.status == "failed" and "private" in world.delivery.last[-1].error


def test_a_death_at_any_place_loses_no_message(
    world: World, receiver: Receiver, redis: Redis, storage: Storage
) -> None:
    """Its pending record goes last: whoever closes the generation again writes the delivery if it is not there."""
    told = world.end(receiver.url)
    accepted = world.ledger.records.ended(told)
    assert accepted
    storage.delete(due_key(told))
    storage.put(pending_key(told), storage.get(f"generations/{told}/manifest.json") or b"")
    redis.flushall()
    world.ledger.close_again(told)
    redis.delete(when_due(KIND), LOOKED)  # nor does it matter that Redis forgets when it is due
    world.look()
    world.ledger.close_again(told)
    world.look(1)
    assert receiver.ids == [told]


def test_what_redis_forgets_is_not_told_too_early(world: World, receiver: Receiver, redis: Redis) -> None:
    receiver.statuses = [500]
    world.end(receiver.url)
    world.look(1)
    world.look(10)
    assert len(receiver.ids) == 2
    redis.flushall()
    world.courier._restored = float("-inf")
    world.look(1)
    world.look(1)
    assert len(receiver.ids) == 2, "its next try is in five minutes"
    world.look(400)
    assert len(receiver.ids) == 3


def test_a_message_is_sent_once_more_when_somebody_asks(world: World, receiver: Receiver) -> None:
    told = world.end(receiver.url)
    world.look(1)
    assert world.webhooks.again(told).status == "waiting"
    world.look(1)
    assert receiver.ids == [told, told] and world.delivery.status == "delivered"
    with pytest.raises(NotFound):
        world.webhooks.again("0" * 32)


def test_what_was_not_begun_in_time_fails(world: World, storage: Storage) -> None:
    slow = world.ledger.accept(request(), aside=Aside(start_within_s=0.001))
    begun = world.ledger.accept(request(), aside=Aside(start_within_s=3600))
    assert world.ledger.start(begun.id)
    assert Starting(world.ledger).run(begun.id, lambda: None), "there is time left"
    Starting(world.ledger).run(slow.id, lambda: None)
    failed = world.ledger.get(slow.id)
    assert failed.status is Status.FAILED and failed.error and failed.error.code == "not_started_in_time"
    assert world.ledger.queues.job(slow.id) is None
    other = world.ledger.accept(request(), aside=Aside(start_within_s=0.001))
    assert world.ledger.start(other.id) is None, "nor does a worker take it up"
    assert world.ledger.get(other.id).status is Status.FAILED


def test_what_has_to_begin_by_some_time_is_known_to_storage_alone(world: World, redis: Redis) -> None:
    plain = world.ledger.accept(request())
    slow = world.ledger.accept(request(), aside=Aside(start_within_s=0.001))
    redis.flushall()
    assert list(Starting(world.ledger).pending()) == [slow.id]
    world.look(1)
    world.look(1)
    failed = world.ledger.get(slow.id)
    assert failed.error and failed.error.code == "not_started_in_time"
    assert world.ledger.get(plain.id).status is Status.QUEUED


def test_the_end_of_what_nobody_can_read_is_given_up(
    world: World, receiver: Receiver, redis: Redis, storage: Storage
) -> None:
    told = world.end(receiver.url)
    redis.flushall()  # which has a copy
    storage.put(manifest_key(told), b"{")
    world.look(1)
    assert (world.delivery.status, receiver.ids) == ("failed", [])
    assert "cannot be read" in world.delivery.last[-1].error


def test_one_that_was_begun_and_put_back_was_in_time(world: World) -> None:
    generation = world.ledger.accept(request(), aside=Aside(start_within_s=0.05))
    if world.ledger.start(generation.id):  # on a machine that is fast enough
        world.ledger.put_back(generation.id)
        time.sleep(0.06)
        assert world.ledger.start(generation.id)


WRONG: list[dict[str, Any]] = [
    {"metadata": {str(number): "" for number in range(17)}},
    {"metadata": {"a": 1}},
    {"metadata": {"": "a"}},
    {"metadata": {"a\0": "b"}},
    {"metadata": {"a": "b" * 513}},
    {"webhook": {"url": "https://example.org/", "events": ["generation.began"]}},
    {"webhook": {"url": "https://example.org/", "events": []}},
    {"webhook": {"events": ["generation.failed"]}},
    {"start_within_s": 0},
    {"start_within_s": 1e9},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GenerationRequest.model_validate({"prompt": "a", **wrong})
