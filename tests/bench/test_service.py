"""The benchmark of the service: its mix is the same for the same seed, and its clients see what the service did."""

from collections import Counter

from app.supervisor import Service
from tests.bench.service.mix import Mix
from tests.bench.service.pictures import arrive, drain, percentile
from tests.bench.service.wire import ask

MIX = Mix(tuple(f"adapter-{number}" for number in range(50)), 0)


def test_the_mix_is_the_same_for_the_same_seed_and_most_ask_for_few() -> None:
    bodies = MIX.requests(2000, steps=4, seed=1)
    assert bodies == MIX.requests(2000, steps=4, seed=1)
    assert bodies != MIX.requests(2000, steps=4, seed=2)
    asked = Counter(one["ref"] for body in bodies for one in body["adapters"])
    print(asked.most_common(3), len(asked))
    assert asked.most_common(1)[0][0] == "adapter-0"
    assert asked["adapter-0"] > 15 * asked["adapter-49"] > 0
    plain = MIX.requests(2000, steps=4, seed=1, adapted=False)
    assert [body | {"adapters": []} for body in bodies] == plain, "without adapters they are not the same pictures"


def test_a_full_queue_is_drawn_to_its_end_and_arrivals_get_their_pictures(service: Service) -> None:
    mix = Mix(("striped-lora", "striped-loha"), 0)
    drained = drain(service, mix.requests(3, steps=2, seed=1))
    assert drained.per_second > 0
    assert [timings["sample"] > 0 for timings in drained.timings] == [True] * 3
    taken = arrive(service, mix.requests(2, steps=2, seed=2), per_second=20, seed=1)
    assert all(milliseconds > 0 for milliseconds in taken)
    assert percentile(taken, 50) <= percentile(taken, 99) <= max(taken)


def test_the_client_counts_what_it_is_answered(service: Service) -> None:
    found = ask(service.url, "GET", lambda number: ["/healthz", "/nowhere"][number % 2], lambda _: b"", 4, seconds=0.3)
    assert set(found.statuses) == {200, 404}
    assert sum(found.statuses.values()) == len(found.milliseconds) > 4
    assert found.seconds >= 0.3
    assert 0 < found.client_cpu < 2
