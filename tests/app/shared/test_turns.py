"""Owners take turns in a queue; the script and its slow twin agree, and one owner alone is served as it comes."""

import random
from typing import cast

import pytest
from redis import Redis

from app.shared.job import INTAKE
from app.shared.queue import Queues, generation_queue, training_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.turns import turns_key
from app.shared.uploads import Uploads
from tests.app.shared.making import MODEL, upload
from tests.bench.simulate.policies import Turns

QUEUE = generation_queue(MODEL)


@pytest.fixture
def queues(redis: Redis, settings: Settings) -> Queues:
    return Queues(redis, settings)


def waiting(redis: Redis, queue: str = QUEUE) -> list[str]:
    return [one.decode() for one in cast(list[bytes], redis.lrange(f"rq:queue:{queue}", 0, -1))]


@pytest.mark.parametrize("seed", range(3))
def test_the_script_and_its_slow_twin_agree(queues: Queues, redis: Redis, seed: int) -> None:
    dice, twin, line = random.Random(seed), Turns(), list[str]()
    for number in range(150):
        if line and dice.random() < 0.4:  # one is taken, or canceled
            gone = dice.randrange(len(line)) if dice.random() < 0.5 else 0
            queues.drop(line.pop(gone))
            del twin.of[gone]
            continue
        owner, one = dice.choice(("", "ada", "ada", "ada", "bob")), f"{number:032x}"
        queues.enqueue_generation(MODEL, one, owner=owner)
        line.insert(twin.place(owner), one)
    assert waiting(redis) == line and len(line) > 5


def test_one_owner_alone_is_served_as_it_comes(queues: Queues, redis: Redis) -> None:
    made = [f"{number:032x}" for number in range(20)]
    for one in made:
        queues.enqueue_generation(MODEL, one, owner="ada")
    for one in made[3:17:2]:
        queues.drop(one)
    queues.enqueue_generation(MODEL, "f" * 32, owner="ada")
    assert waiting(redis) == [*(one for one in made if one not in made[3:17:2]), "f" * 32]


def test_a_crowd_of_one_owner_stops_no_other_in_trainings_too(queues: Queues, redis: Redis) -> None:
    for number in range(50):
        queues.enqueue_training(MODEL, f"{number:032x}", "ada")
    queues.enqueue_training(MODEL, "b" * 32, "bob")
    assert waiting(redis, training_queue(MODEL)).index("b" * 32) == 1


def test_a_crowd_of_one_owners_uploads_stops_no_other(
    queues: Queues, redis: Redis, storage: Storage, settings: Settings
) -> None:
    uploads = Uploads(storage, redis, settings)
    for number in range(50):
        uploads.stage(upload(f"{number:032x}").model_copy(update={"owner": "ada"}), b"bytes")
    for owner in ("bob", ""):
        uploads.stage(upload(f"{len(owner) + 1:x}" * 32).model_copy(update={"owner": owner}), b"bytes")
    assert waiting(redis, INTAKE)[:4] == ["0" * 32, "4" * 32, "1" * 32, f"{1:032x}"]


def test_what_somebody_wrote_there_stops_nobody(queues: Queues, redis: Redis) -> None:
    queues.enqueue_generation(MODEL, "a" * 32, owner="ada")
    redis.set(turns_key(QUEUE), "nonsense")
    redis.hset(f"rq:job:{'a' * 32}", "turn", "soon")
    queues.enqueue_generation(MODEL, "b" * 32, owner="bob")
    redis.delete(f"rq:job:{'b' * 32}")
    redis.set(f"rq:job:{'b' * 32}", "a text")
    queues.enqueue_generation(MODEL, "c" * 32, owner="ada")
    assert set(waiting(redis)) == {"a" * 32, "b" * 32, "c" * 32}
