"""Events as they lie in Redis: written in order, told on the channel, gone after their time; strangers' are none."""

import json

import pytest
from redis import Redis

from app.shared.events import CHANGED, Event, event_of, position, publish, stream_id, stream_key

ID = "0" * 32


def test_an_event_is_kept_in_order_and_told(redis: Redis) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(CHANGED)
        channel.get_message(timeout=5)
        for step in range(3):
            publish(redis, ID, "progress", {"step": step, "ü": "\n"}, keep_s=60)
        told = [channel.get_message(timeout=5) for _ in range(3)]
    assert [message["data"] for message in told if message] == [ID.encode()] * 3
    entries = redis.xrange(stream_key(ID))
    found = [event_of((0, 1), fields) for _, fields in entries]  # type: ignore[union-attr]
    assert [event and event.data for event in found] == [{"step": step, "ü": "\n"} for step in range(3)]


def test_a_stream_goes_after_its_time(redis: Redis) -> None:
    publish(redis, ID, "status", {"status": "queued"}, keep_s=60)
    assert 0 < redis.ttl(stream_key(ID)) <= 60  # type: ignore[operator]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"kind": b"status"},
        {b"data": b"{}"},
        {b"kind": b"status", b"data": b""},
        {b"kind": b"status", b"data": b"{"},
        {b"kind": b"status", b"data": b"[]"},
        {b"kind": b"status", b"data": b'{"step": NaN}'},
        {b"kind": b"status", b"data": b"[" * 100_000},
        {b"kind": b"\xff", b"data": b"{}"},
        {b"kind": b"status\n\ndata: {}", b"data": b"{}"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_an_entry_that_is_none_of_ours_is_no_event(fields: dict[bytes, bytes]) -> None:
    assert event_of((1, 0), fields) is None


@pytest.mark.parametrize("status", [[], {}, None, 1, "nothing", "queued"])
def test_a_strange_status_ends_nothing(status: object) -> None:
    assert not Event("status", {"status": status}).is_end


def test_a_frame_is_one_event_whatever_its_data_holds() -> None:
    frame = Event("status", {"error": "a\n\ndata: b\r\x85\u2028"}, (5, 1)).frame.decode()
    assert frame.endswith("\n\n") and len(frame.splitlines()) == 4
    assert json.loads(frame.splitlines()[2].removeprefix("data: "))["error"].startswith("a\n\n")


@pytest.mark.parametrize(("text", "place"), [("5-1", (5, 1)), ("5", (5, 0)), ("-1", None), ("x", None), ("", None)])
def test_a_place_is_read_as_it_is_written(text: str, place: tuple[int, int] | None) -> None:
    assert position(text) == place
    assert place is None or position(stream_id(place)) == place
